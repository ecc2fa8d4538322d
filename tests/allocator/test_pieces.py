# SPDX-License-Identifier: Apache-2.0
"""Long work gives way: however much is read, moved or recounted at once, it stops after little, and the others have their turns."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.audit import broken, recounting
from purelb.allocator.claims import Source
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Layout
from purelb.allocator.sharing import Facts
from purelb.api.groups import Accepted, parse_group, reading_group
from purelb.api.pieces import CHANGES, LOOKS, at_once
from purelb.process.pacing import SLICE, Pace
from tests.allocator.objects import INSTALL, group, key, v4, v6

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed import TraceFunction

    from purelb.allocator.ranges import Address
    from purelb.api.kinds import PoolEntryV4, PoolEntryV6, ServiceGroup
    from purelb.api.pieces import Pieces

HELD = 1000
FIRST = 0x0A000000


def wide(
    name: str, *, first: int = 0, items: int = 100, created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> ServiceGroup:
    """A group of many items in entries of fifty."""
    texts = [f"10.0.{n // 32}.{n % 32 * 8}-10.0.{n // 32}.{n % 32 * 8 + 6}" for n in range(first, first + items)]
    entries = [v4(", ".join(texts[at : at + 50]), "10.0.0.0/8") for at in range(0, items, 50)]
    return group(name, *entries, created=created, **spec)


def read(*stored: ServiceGroup, before: Groups | None = None) -> Pieces[Groups]:
    return Groups.reading(
        stored, install_namespace=INSTALL, scope="install", labels_of=lambda _: {}, sources=(), before=before
    )


def stops(work: Pieces[Any]) -> int:
    """How often it can be interrupted."""
    return sum(1 for _ in work)


def held(groups: Groups) -> Ledger:
    """Somebody holds each of a thousand addresses."""
    ledger = Ledger()
    ledger.configure(groups.layouts, groups.atlas)
    facts = Facts(None, frozenset(), "shop", (), local=False)
    for number in range(HELD):
        address: Address = (4, FIRST + number)
        ledger.learn(key(f"s{number}"), uid=f"u{number}", created="", address=address, facts=facts)
    return ledger


def test_a_group_is_read_entry_by_entry_and_says_the_same_as_at_once() -> None:
    stored = wide("default", items=500)
    assert stops(reading_group(stored, install_namespace=INSTALL)) >= 10
    accepted = parse_group(stored, install_namespace=INSTALL)
    assert isinstance(accepted, Accepted)
    assert at_once(read(stored)).accepted == {"default": accepted.group}


def opcodes(work: Pieces[Any]) -> list[int]:
    """How much is done between two stops, counted in what the interpreter does: the same on every machine, however busy."""
    found: list[int] = []
    before = sys.gettrace()

    def counting(_frame: FrameType, event: str, _arg: object) -> TraceFunction:
        found[-1] += event == "opcode"
        return counting

    def called(frame: FrameType, _event: str, _arg: object) -> TraceFunction:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return counting

    while True:
        found.append(0)
        sys.settrace(called)
        try:
            next(work)
        except StopIteration:
            return found
        finally:
            sys.settrace(before)


def in_one_text(items: int, *, six: bool = False) -> str:
    """So many ranges that do not touch, as no admission would let in any more."""
    if six:
        return ", ".join(f"2001:db8:0:{n:x}::1-2001:db8:0:{n:x}::ffff" for n in range(items))
    return ", ".join(f"10.0.{n // 16}.{n % 16 * 16}-10.0.{n // 16}.{n % 16 * 16 + 6}" for n in range(items))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(v4(in_one_text(1000), "10.0.0.0/8"), id="a pool"),
        pytest.param(v6(in_one_text(1000, six=True), "2001:db8::/32"), id="a pool of IPv6"),
        pytest.param(v4("10.0.0.0/8", "10.0.0.0/8", exclude=(in_one_text(1000),)), id="what is excluded from one"),
        pytest.param(
            v4("0.0.0.0/1", "0.0.0.0/1", exclude=(in_one_text(1000),)), id="exclusions of what nobody announces"
        ),
        pytest.param(v4(in_one_text(1000), "10.0.0.0/8", exclude_first_last=True), id="a pool without .0 and .255"),
        pytest.param(
            v4(in_one_text(1000), "10.0.0.0/8", exclude=(in_one_text(990),)),
            id="a pool of which nearly all is excluded",
        ),
    ],
)
def test_a_text_of_thousands_of_items_is_read_a_few_items_at_a_time(entry: PoolEntryV4 | PoolEntryV6) -> None:
    done = opcodes(read(group("default", entry)))
    assert max(done) <= sum(done) / 15


def test_thousands_of_ranges_are_laid_out_a_few_at_a_time_as_they_are_at_once() -> None:
    written = [(n * 10, n * 10 + 3) for n in range(8 * LOOKS)][::-1]
    done = opcodes(Layout.making(written))
    assert max(done) <= sum(done) / 8
    assert at_once(Layout.making(written)) == Layout(written)


def test_the_ranges_of_a_group_are_compared_laid_out_and_noted_a_few_at_a_time() -> None:
    large = group("default", v4(in_one_text(8 * LOOKS), "10.0.0.0/8"))
    reading = stops(reading_group(large, install_namespace=INSTALL))
    assert stops(read(large)) >= reading + 6 * 8  # overlap, taken, laid out in two ways, noted, the atlas


def test_a_group_that_says_the_same_as_before_is_not_read_again() -> None:
    same, other = wide("default", items=500), group("far", v4("192.0.2.1/32"))
    before = at_once(read(same, other))
    edited = group("far", v4("192.0.2.2/32"))
    again = wide("default", items=500)
    assert again is not same
    after = at_once(read(again, edited, before=before))
    assert after.accepted["default"] is before.accepted["default"]
    assert [str(entry.pool) for entry in after.accepted["far"].entries] == ["192.0.2.2/32"]
    assert stops(read(again, edited, before=before)) < stops(read(again, edited))


def test_a_refused_group_is_judged_again_when_the_one_before_it_makes_room() -> None:
    old, young = wide("old"), wide("young", created="2026-01-02T00:00:00Z")
    before = at_once(read(old, young))
    assert before.standings[INSTALL, "young"].reason == "Overlap"
    assert before.standings == at_once(read(old, young, before=before)).standings
    after = at_once(read(wide("old", first=2000), young, before=before))
    assert after.standings[INSTALL, "young"].reason == "Accepted"


def test_an_edit_that_moves_a_thousand_held_addresses_stops_after_few_of_them() -> None:
    before, after = at_once(read(wide("default"))), at_once(read(wide("other")))
    ledger = held(before)
    ledger.reserve(Source("node", "n1"), [(4, FIRST + HELD + 1)])
    entries = {address: claim.entry for address, claim in ledger.claims.items()}
    most = 0
    for _ in (work := ledger.configuring(after.layouts, after.atlas)):
        now = {address: claim.entry for address, claim in ledger.claims.items()}
        most = max(most, sum(1 for address, entry in now.items() if entry != entries[address]))
        entries = now
    assert 0 < most <= CHANGES
    assert not [*work], "it is over"
    assert not list(broken(ledger))
    assert all(claim.entry is None or claim.entry.group == "other" for claim in ledger.claims.values())


def test_a_recount_stops_after_few_addresses_and_finds_what_is_wrong() -> None:
    ledger = held(at_once(read(wide("default"))))
    assert stops(recounting(ledger)) >= HELD // CHANGES
    assert at_once(recounting(ledger)) == ()
    ledger.pools.move((4, FIRST), "claimed", "free")
    assert at_once(recounting(ledger, only="default"))
    assert at_once(recounting(ledger, only="other")) == ()


def test_comparing_two_configurations_stops_as_well() -> None:
    one, other = at_once(read(wide("default", items=3000))), at_once(read(wide("other", items=3000)))
    assert stops(one.atlas.moving(other.atlas)) >= 3000 // LOOKS


async def test_whoever_works_for_long_gives_the_others_a_turn_and_whoever_does_not_goes_on() -> None:
    now, turns = 0.0, 0

    def work(pieces: int, each: float) -> Pieces[str]:
        nonlocal now
        for _ in range(pieces):
            now += each
            yield
        return "done"

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(others())
        assert await Pace(lambda: now).through(work(100, SLICE / 200)) == "done"
        assert turns == 0, "it was short"
        assert await Pace(lambda: now).through(work(10, SLICE)) == "done"
        assert turns == 10
        other.cancel()
