# SPDX-License-Identifier: Apache-2.0
"""What befalls an allocator at its writes, on the real API server: paused, out-raced, told to wait, robbed of answers and fields.

Each fault hits a write that is known, since it stands in admission while the test acts (hack/webhook.py): so a leader is paused with
writes in flight and others decided, and not where luck would have it. A judge reads every revision of every Service; the audit log
says what was sent, and by whom. That the API server drops `ipMode` cannot be made here: it sets what is missing again.
"""

from __future__ import annotations

import contextlib
import signal
import threading  # noqa: TID251  a test may: somebody edits while the allocator works
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest

from hack import binaries
from hack.processes import wait_until
from hack.relay import Relay
from tests.conformance.conftest import missing_manifests, unavailable
from tests.conformance.installation import NAMESPACE
from tests.conformance.quarter import Hold, Quarter, asked_first, in_turn
from tests.conformance.replicas import with_our_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hack.control_plane import ControlPlane
    from hack.webhook import Patch, Seen, Webhook
    from tests.conformance.witness import Asked

pytestmark = pytest.mark.timeout(240)

WRITERS: Final = 8
OVERTAKEN: Final = 5
RETRY_AFTER_S: Final = 1.0  # the least that priority and fairness ever says
FLOW: Final = "/apis/flowcontrol.apiserver.k8s.io/v1"
USUAL_LEASES: Final = ()  # for whoever is to lead to the end: another term forgets what was decided, and writes it again
NUMBERS: Final = count(1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if why := binaries.missing() or missing_manifests():
        unavailable(why)
    with with_our_kinds(tmp_path_factory.mktemp("faults"), audited=True) as running:
        yield running


@pytest.fixture(scope="module")
def webhook(plane: ControlPlane) -> Iterator[Webhook]:
    with asked_first(plane) as asked:
        yield asked


@pytest.fixture
def quarter(plane: ControlPlane, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quarter]:
    with Quarter(plane, webhook, tmp_path_factory.mktemp("q"), number=next(NUMBERS)) as made:
        yield made


def names(first: int, last: int) -> list[str]:
    return [f"s{number:03}" for number in range(first, last)]


# --- two replicas


def test_a_leader_that_was_paused_in_a_burst_and_goes_on_after_its_lease_writes_nothing(quarter: Quarter) -> None:
    quarter.pool(1, 200)
    leader, standby = quarter.replicas.start_leader_and_standby()
    quarter.webhook.see = hold = Hold(first=40)
    quarter.create(*names(0, 100))
    hold.wait_reached()
    leader.process.signal(signal.SIGSTOP)
    hold.open()
    quarter.create(*names(100, 120))
    before = quarter.wait_served()
    assert standby.phase() == "Running"
    resumed = quarter.witness.position()
    leader.process.signal(signal.SIGCONT)
    leader.wait_phase("Standby")
    quarter.create(*names(120, 130))
    after = quarter.wait_served()
    assert {name: after[name] for name in before} == before
    assert quarter.witness.writes(credential=leader.credential, since=resumed) == []
    assert [line["why"] for line in leader.said() if line["code"] == "termEnded"] in (["deadline"], ["taken"])


def late_write(quarter: Quarter, *, meanwhile: Callable[[], None]) -> None:
    """The leader has given `a` the second address, and its write lands after the next leader has published that for `b`.

    `meanwhile` happens while nobody leads. No fence can keep such a write from landing; what follows is what matters.
    """
    second = quarter.address(2)
    leader, standby = quarter.replicas.start_leader_and_standby()
    quarter.create("c")
    assert quarter.wait_served() == {"c": (quarter.address(1),)}
    late, next_one = Hold(), Hold()
    of_a = in_turn([late, next_one])
    quarter.webhook.see = lambda seen: of_a(seen) if seen.name == "a" else []
    quarter.create("a")
    late.wait_reached()
    leader.process.signal(signal.SIGSTOP)
    meanwhile()
    assert quarter.wait_served("b")["b"] == (second,)
    next_one.wait_reached()  # what the next leader has to say of `a` waits as well, or it would be the late one's conflict
    late.open()
    quarter.wait_served("a")
    next_one.open()
    wait_until("nobody shares", lambda: len(set(quarter.published().values())) == len(quarter.published()), within_s=30)
    assert standby.phase() == "Running"
    resumed = quarter.witness.position()
    leader.process.signal(signal.SIGCONT)
    leader.wait_phase("Standby")
    quarter.create("d", labels={"for": "b"})
    quarter.wait_served()
    assert quarter.witness.writes(credential=leader.credential, since=resumed) == []


def judged(quarter: Quarter) -> list[str]:
    """What the judge had to complain about, without the stories behind it; it is asked no more about that."""
    quarter.judge_has_read()
    told = sorted(line.partition(": ")[2].splitlines()[0].removesuffix(":") for line in quarter.judge.broken)
    quarter.judge.broken.clear()
    return told


def test_a_former_leaders_late_write_is_put_back_where_the_next_leader_had_decided_otherwise(quarter: Quarter) -> None:
    quarter.pool(1, 9)

    def meanwhile() -> None:
        quarter.delete("c")  # so that the next leader gives `a` the first address, and the second to `b`
        quarter.create("b")

    late_write(quarter, meanwhile=meanwhile)
    first, second, third = (quarter.address(number) for number in (1, 2, 3))
    assert quarter.published() == {"a": (first,), "b": (second,), "d": (third,)}
    assert judged(quarter) == [
        f"{second} is in the statuses of a and b: they have no sharing key in common",
        f"a had ('{second}',) and asks for the same",
    ]
    assert [quarter.events(name, "AddressConflict") for name in ("a", "b")] == [0, 0]  # ADR 13


def test_a_former_leaders_late_write_leaves_the_address_with_the_older_of_two(quarter: Quarter) -> None:
    quarter.pool(1, 9)

    def meanwhile() -> None:
        quarter.pool(1, 9, serviceSelector={"matchLabels": {"for": "b"}})  # so that the next leader has nothing for `a`
        quarter.create("b", labels={"for": "b"})

    late_write(quarter, meanwhile=meanwhile)
    first, second, third = (quarter.address(number) for number in (1, 2, 3))
    assert quarter.published() == {"c": (first,), "a": (second,), "b": (third,), "d": (quarter.address(4),)}
    assert judged(quarter) == [
        f"{second} is in the statuses of a and b: they have no sharing key in common",
        f"b had ('{second}',) and asks for the same",
    ]
    wait_until("b is told of it", lambda: quarter.events("b", "AddressConflict") > 0, within_s=30)
    assert [quarter.events(name, "AddressConflict") for name in ("a", "b")] == [0, 1]


def test_a_standby_that_has_heard_nothing_of_the_last_writes_gives_no_address_twice(quarter: Quarter) -> None:
    quarter.pool(1, 9)
    leader = quarter.replicas.start("one")
    leader.wait_phase("Running")
    with Relay(quarter.plane.server) as relay:
        standby = quarter.replicas.start("two", server=relay.url)
        standby.wait_phase("Standby")
        relay.silence()  # its watches stand, and are silent
        quarter.create("heard-of-by-one")
        given = quarter.wait_served()
        assert leader.process.kill() == -signal.SIGKILL
        del quarter.replicas.running["one"]
        quarter.create("next")
        assert quarter.wait_served() == {**given, "next": (quarter.address(2),)}
        relay.cut()
        quarter.replicas.stop()  # while it can give its lease back: the next test need not wait for that


# --- one allocator, and what becomes of its writes


def test_a_write_whose_answer_is_lost_is_not_made_again_and_gives_no_second_address(quarter: Quarter) -> None:
    quarter.pool(1, 9)
    with Relay(quarter.plane.server) as relay:
        allocator = quarter.replicas.start("one", server=relay.url, timing=USUAL_LEASES)
        allocator.wait_phase("Running")

        def lost(_seen: Seen) -> Patch:
            relay.hold_answers()
            return []

        quarter.webhook.see = in_turn([lost])
        quarter.create("web")
        quarter.wait_served()
        relay.cut()
        quarter.create("next")
        expected = {"web": (quarter.address(1),), "next": (quarter.address(2),)}
        assert quarter.wait_served() == expected
        wait_until("the next is told", lambda: quarter.events("next", "AddressAssigned") > 0, within_s=30)
        assert quarter.published() == expected
        wait_until("web is told", lambda: quarter.events("web", "AddressAssigned") > 0, within_s=30)
        assert quarter.events("web", "AddressAssigned") == 1
        assert sum(each.code == 200 for each in quarter.attempts("web")) == 1
        quarter.replicas.stop()  # while it can give its lease back: the next test need not wait for that


def test_a_service_whose_labels_are_rewritten_all_the_time_gets_its_address_without_a_spin(quarter: Quarter) -> None:
    quarter.pool(1, 9)
    allocator = quarter.replicas.start("one", timing=USUAL_LEASES)
    allocator.wait_phase("Running")
    with contextlib.closing(quarter.plane.api()) as other, contextlib.closing(quarter.plane.api()) as third:

        def relabel(api: Any, number: int) -> None:
            api.patch(f"{quarter.path}/stormy", {"metadata": {"labels": {"turn": str(number)}}}).ok()

        def overtake(seen: Seen) -> Patch:
            """Somebody else is faster, for each of the first versions that are written upon. What fails is admitted once more."""
            version = seen.object["metadata"]["resourceVersion"]
            if seen.name == "stormy" and version not in overtaken and len(overtaken) < OVERTAKEN:
                overtaken.add(version)
                relabel(third, len(overtaken) + 10**6)
            return []

        overtaken: set[str] = set()
        calm = threading.Event()

        def storm() -> None:
            for number in count():
                if calm.wait(0.02):
                    return
                relabel(other, number)

        quarter.webhook.see = overtake
        quarter.create("stormy")
        storming = threading.Thread(target=storm, name="storm")
        storming.start()
        try:
            wait_until("it was overtaken", lambda: _conflicts(quarter) >= OVERTAKEN or _conflicts(quarter), within_s=60)
            quarter.create("neighbour")
            quarter.wait_served("neighbour")
            time.sleep(2.0)  # so that it may well succeed in the middle of the storm
        finally:
            calm.set()
            storming.join(30.0)
        assert not storming.is_alive()
    assert quarter.wait_served() == {"stormy": (quarter.address(1),), "neighbour": (quarter.address(2),)}
    quarter.judge_has_read()
    # Not more than one attempt for each thing that was new: who spins sends hundreds a second.
    assert len(quarter.attempts("stormy")) <= quarter.judge.revisions


def _conflicts(quarter: Quarter) -> int:
    return sum(each.code == 409 for each in quarter.attempts("stormy"))


def test_in_a_burst_that_is_told_to_wait_nothing_is_sent_early_and_everybody_gets_what_was_decided(
    quarter: Quarter,
) -> None:
    quarter.pool(1, 200)
    allocator = quarter.replicas.start("one", timing=USUAL_LEASES)
    allocator.wait_phase("Running")
    quarter.webhook.see = hold = Hold(first=20)
    burst = names(0, 60)
    quarter.create(*burst)
    hold.wait_reached()

    decided: dict[str, list[str]] = {}

    def all_decided() -> object:
        decided.update(allocator.decided())
        return len(decided) == len(burst) or len(decided)

    wait_until("everybody is decided", all_decided, within_s=30)
    with starving(quarter.plane):
        hold.open()
        wait_until("writes are refused", lambda: bool(refused(quarter, burst)), within_s=30)
        time.sleep(3.0)  # long enough for somebody who does not wait to be seen
    after = quarter.wait_served(within_s=90.0)
    assert {f"{quarter.namespace}/{name}": list(addresses) for name, addresses in after.items()} == decided
    for name in burst:
        attempts = quarter.attempts(name)
        # On a busy machine the first may be held for longer than a call lasts (504): it is applied, and its repeat conflicts.
        assert attempts[-1].code in {200, 409}
        assert shortest(attempts, apart=1) >= RETRY_AFTER_S, f"{name} was sent early: {attempts}"
    # Nine attempts are two of one writer, and at the second of them it had been told to wait.
    assert shortest(refused(quarter, burst), apart=WRITERS) >= RETRY_AFTER_S


def refused(quarter: Quarter, burst: Sequence[str]) -> list[Asked]:
    """The attempts that were told to wait, in the order in which they came."""
    attempts = (each for name in burst for each in quarter.attempts(name))
    return sorted((each for each in attempts if each.code == 429), key=lambda each: each.at)


def shortest(attempts: Sequence[Asked], *, apart: int) -> float:
    """The shortest time between an attempt that was refused and the one that came so many later."""
    pairs = zip(attempts, attempts[apart:], strict=False)
    return min((later.at - former.at for former, later in pairs if former.code == 429), default=float("inf"))


@contextlib.contextmanager
def starving(plane: ControlPlane) -> Iterator[None]:
    """Priority and fairness has no seat for a status that the allocator writes: 429. Its lease and its watches go on."""
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {"type": "Limited", "limited": {**limited, "limitResponse": {"type": "Reject"}}}
    who = {"kind": "ServiceAccount", "serviceAccount": {"namespace": NAMESPACE, "name": "allocator"}}
    what = {"verbs": ["patch"], "apiGroups": [""], "resources": ["services/status"], "namespaces": ["*"]}
    schema = {
        "priorityLevelConfiguration": {"name": "no-seat"},
        "matchingPrecedence": 10,
        "rules": [{"subjects": [who], "resourceRules": [what]}],
    }
    token = plane.token(NAMESPACE, "allocator")
    with contextlib.closing(plane.api()) as api, contextlib.closing(plane.api(token=token)) as same_account:
        api.post(f"{FLOW}/prioritylevelconfigurations", {"metadata": {"name": "no-seat"}, "spec": level}).ok()
        api.post(f"{FLOW}/flowschemas", {"metadata": {"name": "no-seat"}, "spec": schema}).ok()

        def status() -> int:
            return same_account.patch("/api/v1/namespaces/default/services/nobody/status", {"metadata": {}}).status

        try:
            wait_until("there is no seat", lambda: (now := status()) == 429 or now, within_s=30)
            yield
        finally:
            api.delete(f"{FLOW}/flowschemas/no-seat").ok()
            api.delete(f"{FLOW}/prioritylevelconfigurations/no-seat").ok()


def without_our_annotations(seen: Seen) -> Patch:
    """What a webhook of somebody who likes his annotations tidy does."""
    ours = [name for name in seen.object["metadata"].get("annotations", {}) if name.startswith("purelb.io/allocated")]
    return [{"op": "remove", "path": f"/metadata/annotations/{name.replace('/', '~1')}"} for name in ours]


def without_conditions(seen: Seen) -> Patch:
    return [{"op": "remove", "path": "/status/conditions"}] if seen.object["status"].get("conditions") else []


@pytest.mark.parametrize(
    "dropping", [without_our_annotations, without_conditions], ids=["its annotations", "its conditions"]
)
def test_who_loses_a_part_of_each_write_writes_once_and_then_not_until_something_changes(
    quarter: Quarter, dropping: Any
) -> None:
    quarter.pool(1, 9)
    allocator = quarter.replicas.start("one", timing=USUAL_LEASES)
    allocator.wait_phase("Running")
    quarter.webhook.see = dropping

    def written() -> int:
        return len(quarter.attempts("web"))

    def at_rest(times: int, neighbour: str) -> None:
        wait_until("it is written", lambda: written() == times or written(), within_s=30)
        quarter.create(neighbour)  # goes through the same queue: what was due for `web` is done by then
        quarter.wait_served(neighbour)
        time.sleep(2.0)  # the point is that nothing happens
        assert written() == times

    quarter.create("web")
    at_rest(1, "n1")
    assert any(line["code"] == "writeStripped" for line in allocator.said())
    quarter.edit("web", {"spec": {"ports": [{"port": 81}]}})
    at_rest(2, "n2")
    given = quarter.published()
    quarter.replicas.stop()
    quarter.replicas.start("one", timing=USUAL_LEASES).wait_phase("Running")
    quarter.create("n3")
    assert quarter.wait_served() == {**given, "n3": (quarter.address(4),)}
