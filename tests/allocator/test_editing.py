# SPDX-License-Identifier: Apache-2.0
"""Groups edited under a ledger that is in use: the same as if the ledger had been made with the new groups, at the cost of what moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from purelb.allocator.atlas import Atlas, EntryId, Place
from purelb.allocator.audit import broken
from purelb.allocator.claims import Origin, Source
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address, Layout
from purelb.allocator.sharing import Facts
from purelb.net.ranges import Interval

ADDRESSES = 48
ENTRIES = (EntryId("a", 4, 0), EntryId("a", 4, 1), EntryId("b", 4, 0))
Config = tuple[list[int | None], bool]

# Whose each address is, by number of the entry, behind them by number of the entry that excludes it; and whether items are written highest first.
configs = st.tuples(
    st.lists(st.none() | st.integers(0, 5), min_size=ADDRESSES, max_size=ADDRESSES).map(
        lambda owners: [owner for owner in owners[: ADDRESSES // 6] for _ in range(6)]
    )
    | st.lists(st.none() | st.integers(0, 5), min_size=ADDRESSES, max_size=ADDRESSES),
    st.booleans(),
)
some = st.sets(st.integers(0, ADDRESSES - 1))


def read(config: Config) -> tuple[dict[EntryId, Layout], Atlas]:
    owners, backwards = config
    runs: dict[EntryId, list[tuple[int, int]]] = {}
    holes: dict[EntryId, list[tuple[int, int]]] = {}
    for number, owner in enumerate(owners):
        if owner is None:
            continue
        mine = (runs if owner < len(ENTRIES) else holes).setdefault(ENTRIES[owner % len(ENTRIES)], [])
        if mine and mine[-1][1] == number - 1:
            mine[-1] = (mine[-1][0], number)
        else:
            mine.append((number, number))
    layouts = {entry: Layout(written[::-1] if backwards else written) for entry, written in runs.items()}
    rows = [
        (Place(entry, excluded=excluded), Interval(4, *bounds))
        for excluded, known in ((False, runs), (True, holes))
        for entry, written in known.items()
        for bounds in written
    ]
    return layouts, Atlas(rows)


def filled(ledger: Ledger, held: set[int], reserved: set[int]) -> None:
    ledger.reserve(Source("node", "n1"), [(4, number) for number in sorted(reserved)])
    for number in sorted(held):
        service = ServiceKey(f"ns-{number % 3}", f"s-{number}")
        facts = Facts(
            "key" if number % 5 == 0 else None, frozenset({("TCP", number)}), service.namespace, (), local=False
        )
        ledger.learn(service, uid="u", created="", address=(4, number), facts=facts, origin=Origin("a", "local"))


def everything(ledger: Ledger) -> dict[str, object]:
    """What can be asked of a ledger, and the order in which its entries hand out what they have left."""
    found: dict[str, object] = {}
    for entry in ledger.pools.entries():
        found[f"usage of {entry}"] = ledger.pools.usage_of(entry)
    for group in ("a", "b"):
        found[f"strays of {group}"] = ledger.index.strays(group, 4)
        found[f"excluded by {group}"] = ledger.index.excluded(group, 4)
        found[f"namespaces of {group}"] = [ledger.index.used_by_namespace(group, f"ns-{n}", 4) for n in range(3)]
        found[f"key of {group}"] = ledger.index.bound(group, 4, "key") is None
    for entry in ledger.pools.entries():
        given_out: list[Address] = []
        while (lowest := ledger.pools.lowest(entry)) is not None:
            given_out.append(lowest)
            ledger.pools.move(lowest, "free", "reserved")
        found[f"order of {entry}"] = given_out
    return found


@given(before=configs, after=configs, held=some, reserved=some)
def test_edited_groups_leave_the_ledger_that_would_have_been_made_with_them(
    before: Config, after: Config, held: set[int], reserved: set[int]
) -> None:
    edited, fresh = Ledger(), Ledger()
    edited.configure(*read(before))
    filled(edited, held, reserved)
    attributed = {address: edited.pools.where(address) for address in edited.claims}
    moved = edited.configure(*read(after))
    fresh.configure(*read(after))
    filled(fresh, held, reserved)
    assert {address: claim.entry for address, claim in edited.claims.items()} == {
        address: claim.entry for address, claim in fresh.claims.items()
    }
    assert set(moved) == {a for a, place in attributed.items() if edited.pools.where(a) != place}
    assert list(broken(edited)) == []
    assert everything(edited) == everything(fresh)


@given(before=configs, after=configs)
def test_what_moves_between_two_atlases_is_what_another_entry_has_or_has_otherwise(
    before: Config, after: Config
) -> None:
    (_, old), (_, new) = read(before), read(after)
    inside = {n for low, high in old.moved(new)[4] for n in range(low, high + 1)}
    assert inside == {n for n in range(ADDRESSES) if old.where((4, n)) != new.where((4, n))}
    assert old.moved(new)[6] == ()


def test_an_edit_of_a_large_pool_moves_nothing_that_stays() -> None:
    low = 1 << 64
    layouts, places = Layout([(low, low + (1 << 60))]), EntryId("a", 6, 0)
    ledger = Ledger()
    ledger.configure({places: layouts}, Atlas([(Place(places), Interval(6, low, low + (1 << 60)))]))
    facts = Facts(None, frozenset(), "ns", (), local=False)
    ledger.learn(ServiceKey("ns", "s"), uid="u", created="", address=(6, low), facts=facts)
    wider = Layout([(low - 7, low - 1), (low, low + (1 << 61))])
    rows = [(Place(places), Interval(6, low - 7, low - 1)), (Place(places), Interval(6, low, low + (1 << 61)))]
    assert ledger.configure({places: wider}, Atlas(rows)) == ()
    assert ledger.pools.lowest(places) == (6, low - 7)
    assert ledger.pools.usage_of(places).free == wider.size - 1
    assert list(broken(ledger)) == []
