# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.elector import Elector, LeadershipLost, Term, Timing
from purelb.kube.metrics import LEADER
from purelb.kube.owner import Fatal
from purelb.kube.wire import micro_time
from tests.kube.small_server import Reply, SmallServer
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.kube.small_server import Call

PATH = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/l"


class World:
    """One server, electors `a` and `b`, and bodies that note when they run."""

    def __init__(self, *, chance: float = 0.0) -> None:
        self.clock = VirtualClock(chance=chance)
        self.server = SmallServer(self.clock)
        self.seen: list[tuple[str, float, object]] = []
        self.terms: list[Term] = []

    def elector(self, identity: str, **more: Any) -> Elector:
        return Elector(self.server.client(), namespace="sys", name="l", identity=identity, clock=self.clock, **more)

    def body(self, identity: str, *, lasts: float | None = None) -> Callable[[Term], Awaitable[None]]:
        async def body(term: Term) -> None:
            self.note(identity, f"leads {term.number}")
            self.terms.append(term)
            try:
                if lasts is None:
                    await asyncio.get_running_loop().create_future()
                else:
                    await self.clock.until(self.clock.now() + lasts)
            finally:
                self.note(identity, f"ends, fence {'open' if term.fence.valid(self.clock.now()) else 'closed'}")

        return body

    def note(self, who: str, what: object) -> None:
        self.seen.append((who, self.clock.now() - START, what))

    async def lead(self, elector: Elector, identity: str, *, lasts: float | None = None) -> None:
        """One term; how it ended is noted."""
        try:
            await elector.lead(self.body(identity, lasts=lasts))
        except LeadershipLost as lost:
            self.note(identity, lost.why)
        else:
            self.note(identity, "done")

    @property
    def lease(self) -> dict[str, Any]:
        return self.server.objects[PATH]

    def foreign(self, holder: str = "other", *, duration: int = 15, **spec: Any) -> None:
        """Somebody else writes the lease."""
        known = self.server.objects.get(PATH, {"kind": "Lease"})
        spec = {"holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": 7, **spec}
        self.server.put(PATH, {**known, "spec": {**known.get("spec", {}), **spec}})


def test_a_micro_time_always_has_six_digits() -> None:
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 0, UTC)) == "2026-01-02T03:04:05.000000Z"
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, 70, UTC)) == "2026-01-02T03:04:05.000070Z"


async def test_a_term_creates_the_lease_renews_it_at_exact_instants_and_gives_it_back() -> None:
    world = World()
    elector = world.elector("a", labels={"app": "x"})
    assert (elector.leader, elector.leading, elector.healthy) == (None, False, True)
    assert not elector.fence.valid(world.clock.now())
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=5))
        await world.clock.advance(1)
        assert (elector.leader, elector.leading, elector.healthy) == ("a", True, True)
        assert elector.fence is world.terms[0].fence
        assert elector.fence.until == START + 13.5
        assert [(sample.metric, sample.value, sample.labels) for sample in elector.samples()] == [(LEADER, 1.0, ("l",))]
        assert world.lease["metadata"]["labels"] == {"app": "x"}
        created = dict(world.lease["spec"])
        assert created == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2030-01-01T00:00:00.000000Z",
            "renewTime": "2030-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }
        await world.clock.advance(3.5)
        assert world.lease["spec"] == {**created, "renewTime": "2030-01-01T00:00:04.000000Z"}
        assert elector.fence.until == START + 4 + 13.5
        await world.clock.advance(1)
    assert world.seen == [("a", 0, "leads 0"), ("a", 5, "ends, fence open"), ("a", 5, "done")]
    assert [(call.method, call.at - START) for call in world.server.calls] == [
        ("GET", 0),
        ("POST", 0),
        ("PATCH", 2),
        ("PATCH", 4),
        ("PATCH", 5),
    ]
    assert world.lease["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": "2030-01-01T00:00:05.000000Z",
        "renewTime": "2030-01-01T00:00:05.000000Z",
        "leaseTransitions": 0,
    }
    assert (elector.leader, elector.leading, elector.healthy) == (None, False, True)
    assert not elector.fence.valid(world.clock.now())


@pytest.mark.parametrize(("busy_for", "looks_at"), [(0.4, 1.0), (1.0, 1.0), (7.0, 7.0)])
async def test_the_first_look_is_due_from_when_the_elector_was_made_however_long_it_takes_to_fill_caches(
    busy_for: float, looks_at: float
) -> None:
    world = World(chance=0.5)
    elector = world.elector("a")
    await world.clock.advance(busy_for)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=5))
        await world.clock.advance(20)
    assert world.server.calls[0].at - START == looks_at
    assert world.seen[0] == ("a", looks_at, "leads 0")


async def test_a_second_term_waits_its_part_of_a_retry_period_again() -> None:
    world = World(chance=0.5)
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=5))
        await world.clock.advance(10)
        group.create_task(world.lead(elector, "a", lasts=5))
        await world.clock.advance(10)
    assert [entry for entry in world.seen if "leads" in str(entry[2])] == [("a", 1, "leads 0"), ("a", 11, "leads 1")]


async def test_when_each_of_the_latest_renewals_was_sent_is_known_by_the_version_that_it_made() -> None:
    world = World()
    elector = world.elector("a")
    sent: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=200))
        await world.clock.advance(1)
        for count in range(70):
            sent[world.lease["metadata"]["resourceVersion"]] = START + 2.0 * count
            await world.clock.advance(2)
        known = {rv: elector.sent_at(rv) for rv in sent}
        assert [rv for rv, at in known.items() if at is None] == list(sent)[:7], "those before the latest 64"
        assert {rv: at for rv, at in known.items() if at is not None} == dict(list(sent.items())[7:])
        assert elector.sent_at("0") is None
        await world.clock.advance(100)


async def test_a_standby_takes_over_within_a_retry_period_of_a_release_with_the_next_number() -> None:
    world = World()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a"), "a", lasts=5))
        await world.clock.advance(1)
        group.create_task(world.lead(world.elector("b"), "b", lasts=3))
        await world.clock.advance(20)
    assert [entry for entry in world.seen if "leads" in str(entry[2])] == [("a", 0, "leads 0"), ("b", 5, "leads 1")]


async def test_a_standby_takes_over_at_the_expiry_of_a_holder_that_died() -> None:
    world = World()
    world.foreign("dead", duration=15)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("b"), "b", lasts=1))
        await world.clock.advance(20)
    assert world.seen[0] == ("b", 15, "leads 8")


async def test_foreign_labels_and_unknown_fields_survive_every_write() -> None:
    world = World()
    world.server.put(PATH, {"kind": "Lease", "metadata": {"labels": {"theirs": "1"}}, "spec": {"strategy": "Oldest"}})
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a", labels={"ours": "2"}), "a", lasts=5))
        await world.clock.advance(10)
    assert world.lease["metadata"]["labels"] == {"theirs": "1", "ours": "2"}
    assert world.lease["spec"]["strategy"] == "Oldest"


async def test_a_lease_that_another_took_ends_the_term_with_the_fence_closed_before_the_body_is_told() -> None:
    world = World()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a"), "a"))
        await world.clock.advance(3)
        world.foreign("other")
        await world.clock.advance(5)
    assert world.seen[1:] == [("a", 4, "ends, fence closed"), ("a", 4, "taken")]
    assert world.lease["spec"]["holderIdentity"] == "other"


async def test_a_deleted_lease_ends_the_term_and_the_next_is_another_call() -> None:
    world = World()
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a"))
        await world.clock.advance(3)
        del world.server.objects[PATH]
        await world.clock.advance(2)
        assert world.seen[1:] == [("a", 4, "ends, fence closed"), ("a", 4, "deleted")]
        group.create_task(world.lead(elector, "a", lasts=1))
        await world.clock.advance(2)
    first, second = world.terms
    assert elector.fence is second.fence
    assert not first.fence.valid(START + 4)


async def test_renewals_that_hang_end_the_term_at_the_deadline_before_anybody_else_may_take_over() -> None:
    world = World()
    world.server.delays = lambda call: (1000.0, 0.0) if call.method == "PATCH" and call.at < START + 11 else (0.0, 0.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a"), "a"))
        await world.clock.advance(0.5)
        group.create_task(world.lead(world.elector("b"), "b", lasts=1))
        await world.clock.advance(30)
    assert world.seen[1:4] == [("a", 10, "ends, fence closed"), ("a", 10, "deadline"), ("b", 15.5, "leads 1")]


async def test_one_renewal_whose_answer_is_lost_costs_a_read_and_not_the_term() -> None:
    world = World()
    world.server.trouble = lambda call: Reply(0, commit=True) if call.at == START + 2 else None
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a"), "a", lasts=9))
        await world.clock.advance(20)
    assert [entry[2] for entry in world.seen] == ["leads 0", "ends, fence open", "done"]
    assert [(call.method, call.at - START) for call in world.server.calls[2:6]] == [
        ("PATCH", 2),
        ("PATCH", 4),
        ("GET", 4),
        ("PATCH", 4),
    ]


async def test_what_the_body_raises_is_raised_after_the_lease_was_given_back() -> None:
    world = World()

    async def body(_: Term) -> None:
        await world.clock.until(START + 3)
        raise KeyError("ours")

    async def lead() -> None:
        with pytest.raises(KeyError, match="ours"):
            await world.elector("a").lead(body)
        world.note("a", world.lease["spec"]["holderIdentity"])

    async with asyncio.TaskGroup() as group:
        group.create_task(lead())
        await world.clock.advance(10)
    assert world.seen == [("a", 3, "")]


async def test_a_mistake_in_the_end_of_a_lost_term_is_not_hidden_by_the_loss() -> None:
    world = World()

    async def body(_: Term) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise KeyError("ours")

    async def lead() -> None:
        with pytest.raises(KeyError, match="ours"):
            await world.elector("a").lead(body)

    async with asyncio.TaskGroup() as group:
        group.create_task(lead())
        await world.clock.advance(1)
        world.foreign("other")
        await world.clock.advance(10)


async def test_cancelled_while_leading_the_body_ends_and_the_lease_is_given_back() -> None:
    world = World()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.lead(world.elector("a"), "a"))
        await world.clock.advance(3)
        task.cancel()
        await world.clock.advance(1)
        assert task.cancelled()
    assert world.seen[1:] == [("a", 3, "ends, fence open")]
    assert world.lease["spec"]["holderIdentity"] == ""


async def test_cancelled_during_a_renewal_that_is_committed_the_lease_is_given_back_all_the_same() -> None:
    world = World()
    world.server.delays = lambda call: (0.0, 1.0) if call.at == START + 2 else (0.0, 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.lead(world.elector("a"), "a"))
        await world.clock.advance(2.5)
        task.cancel()
        await world.clock.advance(5)
    assert [call.method for call in world.server.calls[2:]] == ["PATCH", "PATCH", "GET", "PATCH"]
    assert world.lease["spec"]["holderIdentity"] == ""


async def test_a_release_tries_for_as_long_as_a_renewal_would_and_then_leaves_the_lease_to_run_out() -> None:
    world = World()
    world.server.trouble = lambda call: Reply(0) if call.at > START + 2.5 else None
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a"), "a", lasts=3))
        await world.clock.advance(30)
    assert world.seen[-1] == ("a", 13, "done")
    assert world.lease["spec"]["holderIdentity"] == "a"


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "refuses"])
async def test_a_release_can_be_given_less_time_than_a_renewal(hangs: bool) -> None:
    world = World()
    if hangs:
        world.server.delays = lambda call: (60.0, 0.0) if call.at > START + 2.5 else (0.0, 0.0)
    else:
        world.server.trouble = lambda call: Reply(0) if call.at > START + 2.5 else None
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(world.elector("a", release_within=2.0), "a", lasts=3))
        await world.clock.advance(80)
    assert world.seen[-1] == ("a", 5, "done")


async def test_a_body_that_ignores_its_end_for_five_seconds_is_fatal() -> None:
    world = World()
    stop = False

    async def stubborn(term: Term) -> None:
        while not stop:
            try:
                await world.clock.until(world.clock.now() + 1)
            except asyncio.CancelledError:
                world.note("a", f"ignored, fence {'open' if term.fence.valid(world.clock.now()) else 'closed'}")

    async def lead() -> None:
        with pytest.raises(Fatal, match="went on for 5 s"):
            await world.elector("a").lead(stubborn)
        world.note("a", "fatal")

    async with asyncio.TaskGroup() as group:
        group.create_task(lead())
        await world.clock.advance(1)
        world.foreign("other")
        await world.clock.advance(20)
        stop = True
        await world.clock.advance(1)
    assert world.seen == [("a", 2, "ignored, fence closed"), ("a", 7, "fatal")]


async def test_after_a_suspend_the_fence_is_passed_before_anybody_has_a_turn() -> None:
    world = World()
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a"))
        await world.clock.advance(3)
        world.clock.jump(60)
        assert not world.terms[0].fence.valid(world.clock.now())
        assert not elector.healthy
        await world.clock.advance(1)
    assert world.seen[1:] == [("a", 63, "ends, fence closed"), ("a", 63, "deadline")]


async def test_no_api_server_is_said_once_and_waited_for() -> None:
    world = World()
    world.server.trouble = lambda call: Reply(0) if call.at < START + 30 else None
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=1))
        await world.clock.advance(10)
        assert elector.trouble == "reset: the connection broke"
        assert not elector.leading
        await world.clock.advance(30)
    assert elector.trouble is None
    assert world.seen[0] == ("a", 30, "leads 0")


@pytest.mark.parametrize("turns", range(0, 60, 2))
async def test_cancelled_at_any_turn_no_task_is_left_and_the_fence_is_closed(turns: int) -> None:
    world = World()
    world.server.delays = lambda _: (0.1, 0.1)
    elector = world.elector("a", timing=Timing(5, 3, 1))
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.lead(elector, "a"))
        for _ in range(turns):
            await world.clock.advance(0.05)
        task.cancel()
        await world.clock.advance(30)
        assert task.cancelled()
    assert asyncio.all_tasks() == before
    assert not any(term.fence.valid(world.clock.now()) for term in world.terms)
    assert not elector.leading
    if world.terms:
        assert world.lease["spec"]["holderIdentity"] == ""


def test_a_bad_identity_is_refused_when_the_elector_is_made() -> None:
    with pytest.raises(ValueError, match="identity"):
        World().elector("")


async def test_a_lease_that_we_may_not_read_is_said_once_with_the_servers_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()

    def forbidden(_: Call) -> Reply:
        return Reply(403, "Forbidden")

    world.server.trouble = forbidden
    caplog.set_level("INFO")
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.lead(elector, "a"))
        await world.clock.advance(60)
        assert not elector.leading
        task.cancel()
    lines = [record for record in caplog.records if getattr(record, "code", "") == "leaseFailed"]
    assert len(lines) == 1
    assert "403 Forbidden" in lines[0].__dict__["error"]


async def test_that_the_namespace_of_the_lease_does_not_exist_is_said_once_for_as_long_as_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.server.trouble = lambda call: Reply(404, "NotFound") if call.method == "POST" else None
    caplog.set_level("INFO")
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.lead(elector, "a"))
        said = set()
        for _ in range(60):
            await world.clock.advance(1.0)
            said.add(elector.trouble)
        assert not elector.leading
        assert len(said - {None}) == 1
        assert "404 NotFound" in (elector.trouble or "")
        world.server.trouble = lambda _: None
        await world.clock.advance(10.0)
        assert elector.leading
        assert elector.trouble is None
        task.cancel()
    lines = [record for record in caplog.records if getattr(record, "code", "") == "leaseFailed"]
    assert len(lines) == 1


async def test_a_renewal_can_be_had_before_it_is_due_but_not_more_than_four_times_a_period() -> None:
    world = World()
    elector = world.elector("a")
    elector.renew_soon()  # without a term there is nothing to renew
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=4))
        await world.clock.advance(1)
        for _ in range(3):
            elector.renew_soon()
        await world.clock.advance(0.1)
        assert elector.fence.until == START + 1 + 13.5
        elector.renew_soon()  # not sooner than half a second after the one before that was asked for
        await world.clock.advance(1)
        assert elector.fence.until == START + 1.5 + 13.5
        await world.clock.advance(2)
    elector.renew_soon()
    asked = [call.at - START for call in world.server.calls if call.method == "PATCH"]
    assert asked == [1, 1.5, 3.5, 4]


async def test_a_renewal_asked_for_behind_one_that_failed_waits_as_if_nobody_had_asked() -> None:
    world = World()
    elector = world.elector("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(world.lead(elector, "a", lasts=7))
        await world.clock.advance(1)
        world.server.trouble = lambda call: Reply(0) if call.at == START + 2 else None
        await world.clock.advance(1.5)
        elector.renew_soon()
        await world.clock.advance(5)
    asked = [call.at - START for call in world.server.calls if call.method == "PATCH"]
    assert asked[:2] == [2, 4]
