# SPDX-License-Identifier: Apache-2.0
"""Elections, observations and heartbeats, told what happened and when."""

from __future__ import annotations

import heapq
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from purelb.kube.lease import (
    Absent,
    Action,
    Answer,
    Conflicted,
    Create,
    Election,
    Extended,
    Failed,
    Found,
    Heartbeat,
    Input,
    Lost,
    Observations,
    Poke,
    Read,
    Release,
    Released,
    Renew,
    Start,
    Stop,
    Take,
    Tick,
    Timing,
    Won,
    Wrote,
)
from purelb.kube.model import Lease, LeaseSpec, ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Callable


def lease(
    holder: str | None, *, rv: str = "1", duration: int | None = 15, renewed: str = "r1", number: int = 3
) -> Lease:
    spec = LeaseSpec(
        holder_identity=holder, lease_duration_seconds=duration, renew_time=renewed, lease_transitions=number
    )
    return Lease(metadata=ObjectMeta(name="l", resource_version=rv), spec=spec)


class Script:
    """Tells an election what happens; each step must answer exactly the actions that were expected."""

    def __init__(self, *, chance: float = 0.0, timing: Timing = Timing(15, 10, 2)) -> None:  # noqa: B008
        self.election = Election(identity="us", timing=timing, rng=lambda: chance)

    def feed(self, seen: Input, *, at: float) -> Script:
        assert self.election.actions() == []
        self.election.receive(seen, at)
        return self

    def expect(self, *actions: Action, deadline: float | None) -> Script:
        assert self.election.actions() == list(actions)
        assert self.election.deadline() == (None if deadline is None else pytest.approx(deadline))
        return self

    def lead(self, *, at: float = 100.0, number: int = 4) -> Script:
        """Win the lease by a write sent `at`."""
        self.feed(Start(), at=at).expect(deadline=at)
        self.feed(Tick(), at=at).expect(Read(5.0), deadline=None)
        self.feed(Found(lease("", number=number - 1)), at=at).expect(Take("1", number, 5.0), deadline=None)
        taken = Wrote(lease("us", rv="2", number=number))
        return self.feed(taken, at=at).expect(Won(number, at + 13.5), deadline=at + 2)


# Acquiring


def test_the_first_look_comes_within_one_retry_period() -> None:
    Script(chance=0.5).feed(Start(), at=100).expect(deadline=101).feed(Tick(), at=100.5).expect(deadline=101).feed(
        Tick(), at=101
    ).expect(Read(5.0), deadline=None)


def test_a_lease_that_is_absent_is_created_and_its_term_has_the_number_of_the_record() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=100.5).expect(Create(5.0), deadline=None)
    script.feed(Wrote(lease("us", number=0)), at=101).expect(Won(0, 100.5 + 13.5), deadline=102.5)
    assert script.election.holder == "us"


def test_a_create_that_another_won_is_looked_at_again_later() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=100).expect(Create(5.0), deadline=None)
    script.feed(Conflicted(), at=100).expect(deadline=102)


def test_a_create_in_a_namespace_that_does_not_exist_is_not_repeated_at_once() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=100).expect(Create(5.0), deadline=None)
    script.feed(Absent(), at=100).expect(deadline=102)


def test_a_released_lease_is_taken_with_the_next_number_and_the_version_that_was_read() -> None:
    Script().lead()


def test_a_foreign_holder_is_believed_for_the_duration_it_wrote_and_the_standby_wakes_at_its_end() -> None:
    script = Script(chance=0.0)
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    for at in range(100, 160, 2):
        script.feed(Found(lease("other", duration=60)), at=at).expect(deadline=min(at + 2.0, 160.0))
        script.feed(Tick(), at=min(at + 2.0, 160.0)).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=60)), at=160).expect(Take("1", 4, 5.0), deadline=None)


def test_a_takeover_comes_at_the_expiry_plus_at_most_a_fifth_of_the_retry_period() -> None:
    script = Script(chance=0.999)
    script.feed(Start(), at=98.002).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3)), at=100).expect(deadline=103 + 0.3996)
    script.feed(Tick(), at=103.4).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3)), at=103.41).expect(Take("1", 4, 5.0), deadline=None)


def test_a_lease_that_changed_between_looks_is_believed_anew() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, renewed="r1")), at=100).expect(deadline=102)
    script.feed(Tick(), at=103).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, renewed="r2")), at=103).expect(deadline=105)
    script.feed(Tick(), at=105).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, renewed="r2")), at=105).expect(deadline=106)


@pytest.mark.parametrize("renewed", ["2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"])
def test_timestamps_of_a_foreign_clock_have_no_effect(renewed: str) -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=1, renewed=renewed)), at=100).expect(deadline=101)
    script.feed(Tick(), at=101).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=1, renewed=renewed)), at=101).expect(Take("1", 4, 5.0), deadline=None)


def test_a_new_version_without_a_change_of_the_record_does_not_prolong_it() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, rv="1")), at=100).expect(deadline=102)
    script.feed(Tick(), at=102).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, rv="2")), at=102).expect(deadline=103)
    script.feed(Tick(), at=103).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3, rv="3")), at=103).expect(Take("3", 4, 5.0), deadline=None)


def test_our_own_identity_without_a_term_of_ours_is_another_holder() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("")), at=100).expect(Take("1", 4, 5.0), deadline=None)
    script.feed(Failed(), at=105).expect(deadline=107)  # no answer; it was committed
    script.feed(Tick(), at=107).expect(Read(5.0), deadline=None)
    for at in (107, 109, 111, 113, 115, 117, 119):
        script.feed(Found(lease("us", rv="2")), at=at).expect(deadline=at + 2)
        script.feed(Tick(), at=at + 2).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("us", rv="2")), at=121).expect(deadline=122)
    script.feed(Tick(), at=122).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("us", rv="2")), at=122).expect(Take("2", 4, 5.0), deadline=None)


def test_a_lease_whose_answer_came_after_a_suspend_is_not_led() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=100).expect(Create(5.0), deadline=None)
    script.feed(Wrote(lease("us", number=0)), at=160).expect(deadline=162)


def test_a_failed_look_is_repeated_and_not_before_the_server_wants_it() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Failed(), at=105).expect(deadline=107)
    script.feed(Tick(), at=107).expect(Read(5.0), deadline=None)
    script.feed(Failed(retry_after=30), at=107).expect(deadline=137)


def test_a_lease_that_was_deleted_is_created_once_its_last_holder_must_have_noticed() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Tick(), at=100).expect(Read(5.0), deadline=None)
    script.feed(Found(lease("other", duration=3)), at=100).expect(deadline=102)
    script.feed(Tick(), at=102).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=102).expect(deadline=103)
    script.feed(Tick(), at=103).expect(Read(5.0), deadline=None)
    script.feed(Absent(), at=103).expect(Create(5.0), deadline=None)


# Leading


def test_the_lease_is_renewed_every_retry_period_and_the_fence_counts_from_when_the_renewal_was_sent() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Wrote(lease("us", rv="3", number=4)), at=103).expect(Extended(102 + 13.5), deadline=104)
    script.feed(Tick(), at=104).expect(Renew("3", 5.0), deadline=112)


def test_a_renewal_that_meets_a_foreign_edit_is_repeated_with_the_new_version() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Conflicted(), at=102.5).expect(Read(5.0), deadline=110)
    script.feed(Found(lease("us", rv="9", number=4)), at=103).expect(Renew("9", 5.0), deadline=110)
    script.feed(Wrote(lease("us", rv="10", number=4)), at=103.5).expect(Extended(103 + 13.5), deadline=105)


def test_two_writers_that_meet_again_and_again_do_not_turn_in_circles() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Conflicted(), at=102).expect(Read(5.0), deadline=110)
    script.feed(Found(lease("us", rv="9", number=4)), at=102).expect(Renew("9", 5.0), deadline=110)
    script.feed(Conflicted(), at=102).expect(deadline=102.5)


@pytest.mark.parametrize(
    "found", [lease("other", rv="9", number=5), lease("", rv="9", number=4), lease("us", rv="9", number=6)]
)
def test_a_lease_that_is_not_ours_any_more_ends_the_term_at_once(found: Lease) -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Conflicted(), at=102).expect(Read(5.0), deadline=110)
    script.feed(Found(found), at=102).expect(Lost("taken"), deadline=None)
    script.feed(Tick(), at=200).expect(deadline=None)


def test_a_lease_that_was_deleted_ends_the_term_at_once() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Absent(), at=102).expect(Lost("deleted"), deadline=None)


def test_renewals_that_fail_are_repeated_until_the_deadline_ends_the_term() -> None:
    script = Script().lead(at=100)
    for at in (102.0, 104.0, 106.0, 108.0):
        script.feed(Tick(), at=at).expect(Renew("2", min(5.0, 110 - at)), deadline=110)
        script.feed(Failed(), at=at + 0.1).expect(deadline=at + 2)
    script.feed(Tick(), at=110).expect(Lost("deadline"), deadline=None)


def test_one_renewal_that_hangs_does_not_cost_the_term() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Failed(), at=107).expect(Renew("2", 3.0), deadline=110)
    script.feed(Wrote(lease("us", rv="3", number=4)), at=107.2).expect(Extended(107 + 13.5), deadline=109)


def test_a_renewal_in_flight_at_the_deadline_does_not_keep_the_term() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Tick(), at=110).expect(Lost("deadline"), deadline=None)
    script.feed(Wrote(lease("us", rv="3", number=4)), at=110.1).expect(deadline=None)


# Releasing


def test_a_release_gives_the_lease_back() -> None:
    script = Script().lead(at=100)
    script.feed(Stop(), at=101).expect(Release("2", 5.0), deadline=111)
    script.feed(Wrote(lease("", rv="3", number=4)), at=101).expect(Released(), deadline=None)


def test_a_release_that_meets_the_renewal_that_was_in_flight_reads_and_goes_on() -> None:
    script = Script().lead(at=100)
    script.feed(Tick(), at=102).expect(Renew("2", 5.0), deadline=110)
    script.feed(Stop(), at=102.1).expect(Release("2", 5.0), deadline=112.1)
    script.feed(Conflicted(), at=102.2).expect(Read(5.0), deadline=112.1)
    script.feed(Found(lease("us", rv="3", number=4)), at=102.3).expect(Release("3", 5.0), deadline=112.1)
    script.feed(Wrote(lease("", rv="4", number=4)), at=102.4).expect(Released(), deadline=None)


@pytest.mark.parametrize("answer", [Absent(), Found(lease("other", rv="9", number=5))])
def test_a_release_leaves_alone_what_is_not_ours(answer: Answer) -> None:
    script = Script().lead(at=100)
    script.feed(Stop(), at=101).expect(Release("2", 5.0), deadline=111)
    script.feed(Conflicted(), at=101).expect(Read(5.0), deadline=111)
    script.feed(answer, at=101).expect(Released(), deadline=None)


def test_a_release_that_fails_is_repeated_until_its_own_deadline() -> None:
    script = Script().lead(at=100)
    script.feed(Stop(), at=101).expect(Release("2", 5.0), deadline=111)
    script.feed(Failed(), at=106).expect(deadline=106.5)
    script.feed(Tick(), at=106.5).expect(Release("2", 4.5), deadline=111)
    script.feed(Tick(), at=111).expect(Released(), deadline=None)


def test_a_stop_before_a_term_has_nothing_to_give_back() -> None:
    script = Script()
    script.feed(Start(), at=100).expect(deadline=100)
    script.feed(Stop(), at=100).expect(Released(), deadline=None)


# Settings


@pytest.mark.parametrize(
    "timing, rule",
    [
        ((0, 10, 2), "lease duration 0 s: must be a whole number"),
        ((15.5, 10, 2), "lease duration 15.5 s: must be a whole number"),
        ((15, 10, 0.5), "retry period 0.5 s: must be a whole number"),
        ((10, 10, 2), "lease duration 10 s is not longer than renew deadline 10 s"),
        ((15, 2.4, 2), "renew deadline 2.4 s is not longer than 1.2 x retry period 2 s"),
    ],
)
def test_a_bad_timing_is_refused_and_the_rule_is_named(timing: tuple[float, float, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Timing(*timing)


def test_an_empty_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="identity"):
        Election(identity="", timing=Timing(), rng=lambda: 0.0)


# Two of them


class Node:
    """A machine with a clock of its own."""

    def __init__(self, world: Cluster, identity: str, *, rate: float, offset: float) -> None:
        self.world = world
        self.identity = identity
        self.rate = rate
        self.offset = offset
        self.paused_until = 0.0
        self.terms: list[list[float]] = []  # start and end of each guarded time, true time
        self.requests = itertools.count()
        self.request: int | None = None
        self.generation = 0
        self.restart(0.0)

    def local(self, true: float) -> float:
        return self.offset + self.rate * true

    def true(self, local: float) -> float:
        return (local - self.offset) / self.rate

    def restart(self, at: float) -> None:
        self.request = None
        self.election = Election(identity=self.identity, timing=Timing(15, 10, 2), rng=self.world.chance.random)
        self.leading = False
        self.hear(Start(), at)

    def hear(self, seen: Input, at: float, *, request: int | None = None) -> None:
        if at < self.paused_until:
            self.world.at(self.paused_until, lambda: self.hear(seen, self.paused_until, request=request))
            return
        if request is not None:
            if request != self.request:
                return
            self.request = None
        self.election.receive(seen, self.local(at))
        over = False
        for action in self.election.actions():
            match action:
                case Won(until=until):
                    self.leading = True
                    self.terms.append([at, max(at, self.true(until))])
                case Extended(until=until):
                    self.terms[-1][1] = max(self.terms[-1][1], self.true(until))
                case Lost() | Released():
                    if self.leading:
                        self.close(at)
                    over = True
                case _:
                    self.send(action, at)
        self.generation += 1
        if over:
            self.restart(at)
            return
        due = self.election.deadline()
        if due is not None:
            generation = self.generation
            when = max(at, self.true(due)) + 1e-9
            self.world.at(when, lambda: self.hear(Tick(), when) if self.generation == generation else None)

    def close(self, at: float) -> None:
        """The fence is closed. A paused machine sends nothing, so what it guarded while it slept does not matter."""
        self.leading = False
        self.terms[-1][1] = min(self.terms[-1][1], at)

    def send(self, request: Read | Create | Take | Renew | Release, at: float) -> None:
        number = self.request = next(self.requests)
        go, back = self.world.latency(), self.world.latency()
        if not self.world.loses():
            self.world.at(at + go, lambda: self.world.serve(self, request, number, at + go, back))
        ends = at + request.timeout / self.rate
        self.world.at(ends, lambda: self.hear(Failed(), ends, request=number))


class Cluster:
    def __init__(self, seed: int, *, rates: tuple[float, float], slow: float, loss: float, pauses: float) -> None:
        self.chance = random.Random(seed)
        self.slow = slow
        self.loss = loss
        self.pauses = pauses
        self.events: list[tuple[float, int, Callable[[], object]]] = []
        self.order = itertools.count()
        self.lease: Lease | None = None
        self.version = 0
        self.nodes = [
            Node(self, name, rate=rate, offset=self.chance.uniform(-1e5, 1e5))
            for name, rate in zip(("a", "b"), rates, strict=True)
        ]

    def at(self, when: float, call: Callable[[], object]) -> None:
        heapq.heappush(self.events, (when, next(self.order), call))

    def latency(self) -> float:
        return self.chance.choice([0.001, 0.01, self.chance.uniform(0, self.slow)])

    def loses(self) -> bool:
        return self.chance.random() < self.loss

    def serve(
        self, node: Node, request: Read | Create | Take | Renew | Release, number: int, at: float, back: float
    ) -> None:
        answer = self.commit(node, request)
        if not self.loses():
            self.at(at + back, lambda: node.hear(answer, at + back, request=number))

    def commit(self, node: Node, request: Read | Create | Take | Renew | Release) -> Answer:
        known = self.lease
        match request:
            case Create() if known is not None:
                return Conflicted()
            case Create():
                return Wrote(self.store(node.identity, 0))
            case _ if known is None:
                return Absent()
            case Read():
                return Found(known)
            case Take(rv=rv) | Renew(rv=rv) | Release(rv=rv) if rv != known.metadata.resource_version:
                return Conflicted()
            case Take(transitions=transitions):
                return Wrote(self.store(node.identity, transitions))
            case Renew():
                assert known.spec is not None
                return Wrote(self.store(node.identity, known.spec.lease_transitions or 0))
            case Release():
                assert known.spec is not None
                return Wrote(self.store("", known.spec.lease_transitions or 0))

    def store(self, holder: str, number: int) -> Lease:
        self.version += 1
        self.lease = lease(holder, rv=str(self.version), renewed=f"r{self.version}", number=number)
        return self.lease

    def run(self, until: float) -> None:
        for node in self.nodes:
            at = 0.0
            while at < until:
                at += self.chance.expovariate(1 / 60)
                kind, length = self.chance.random(), self.chance.uniform(0, 40)
                self.at(at, partial(self.disturb, node, at, kind, length))
        while self.events and self.events[0][0] <= until:
            heapq.heappop(self.events)[2]()

    def disturb(self, node: Node, at: float, kind: float, length: float) -> None:
        if kind < self.pauses:
            node.paused_until = max(node.paused_until, at + length)
        elif kind < 0.7 and node.leading and at >= node.paused_until:
            node.close(at)  # the body ended: the fence is closed, then the lease given back
            node.request = None
            node.hear(Stop(), at)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    rates=st.tuples(st.floats(0.99, 1.01), st.floats(0.99, 1.01)),
    slow=st.sampled_from([0.05, 1.0, 4.0, 9.0]),
    loss=st.sampled_from([0.0, 0.02, 0.2, 0.5]),
    pauses=st.sampled_from([0.0, 0.5]),
)
@example(seed=1, rates=(1.01, 0.99), slow=9.0, loss=0.5, pauses=0.5)
def test_terms_of_two_electors_on_one_server_never_overlap_within_their_fences(
    seed: int, rates: tuple[float, float], slow: float, loss: float, pauses: float
) -> None:
    cluster = Cluster(seed, rates=rates, slow=slow, loss=loss, pauses=pauses)
    cluster.run(400.0)
    spans = sorted((start, end, node.identity) for node in cluster.nodes for start, end in node.terms)
    for (_, end, one), (start, _, other) in itertools.pairwise(spans):
        assert end <= start, (spans, one, other)


def test_on_a_quiet_network_one_of_two_leads_and_stays() -> None:
    cluster = Cluster(5, rates=(1.0, 1.0), slow=0.05, loss=0.0, pauses=0.0)
    while cluster.events and cluster.events[0][0] <= 400.0:
        heapq.heappop(cluster.events)[2]()
    (only,) = [term for node in cluster.nodes for term in node.terms]
    assert only[0] < 5.0
    assert only[1] > 400.0


# Many leases at once


def test_a_peer_is_alive_until_its_lease_stood_still_for_as_long_as_it_promised() -> None:
    peers: Observations[str] = Observations()
    assert peers.saw("n2", fingerprint="a", duration=15, now=100.0)
    assert not peers.saw("n2", fingerprint="a", duration=15, now=114.0)  # seen again, unchanged: proves nothing
    assert peers.valid_until("n2") == 115.0
    assert peers.saw("n2", fingerprint="b", duration=30, now=114.5)
    assert peers.valid_until("n2") == 144.5


def test_the_next_expiry_is_the_earliest_that_is_still_to_come() -> None:
    peers: Observations[str] = Observations()
    assert peers.next_expiry() is None
    peers.saw("n1", fingerprint="a", duration=15, now=100.0)
    peers.saw("n2", fingerprint="a", duration=15, now=103.0)
    assert peers.next_expiry() == 115.0
    assert peers.next_expiry(115.0) == 118.0
    assert peers.next_expiry(118.0) is None


def test_a_deleted_lease_is_not_waited_for() -> None:
    peers: Observations[str] = Observations()
    peers.saw("n1", fingerprint="a", duration=15, now=100.0)
    peers.gone("n1")
    peers.gone("never seen")
    assert peers.valid_until("n1") is None
    assert peers.keys() == ()


def test_after_we_were_cut_off_ourselves_everybody_gets_a_full_duration() -> None:
    peers: Observations[str] = Observations()
    peers.saw("n1", fingerprint="a", duration=15, now=100.0)
    peers.restart(200.0)
    assert peers.valid_until("n1") == 215.0


# One's own


def is_ours(seen: Lease) -> bool:
    return seen.spec is not None and seen.spec.holder_identity == "us"


def own(chance: float = 0.5) -> Heartbeat:
    return Heartbeat(interval=5, retry=2, timeout=3, mine=is_ours, rng=lambda: chance)


def told(heart: Heartbeat, seen: Start | Poke | Answer | Tick, at: float) -> list[Read | Create | Renew]:
    heart.receive(seen, at)
    return heart.actions()


def test_a_heartbeat_creates_its_lease_and_renews_it_around_its_interval() -> None:
    heart = own(chance=0.5)
    assert told(heart, Start(), 100.0) == [Read(3)]
    assert heart.deadline() is None
    assert told(heart, Absent(), 100.0) == [Create(3)]
    assert told(heart, Wrote(lease("us", rv="1")), 100.5) == []
    assert heart.last_ok_sent_at == 100.0
    assert heart.deadline() == 105.0
    assert told(heart, Tick(), 105.0) == [Renew("1", 3)]
    assert told(heart, Wrote(lease("us", rv="2")), 105.1) == []
    assert heart.last_ok_sent_at == 105.0


@pytest.mark.parametrize("chance, due", [(0.0, 104.5), (0.999999, 105.5)])
def test_renewals_of_many_nodes_spread(chance: float, due: float) -> None:
    heart = own(chance=chance)
    told(heart, Start(), 100.0)
    told(heart, Absent(), 100.0)
    told(heart, Wrote(lease("us")), 100.0)
    assert heart.deadline() == pytest.approx(due, abs=1e-4)


def test_where_a_lease_cannot_be_created_it_is_asked_for_again_as_its_namespace_may_come() -> None:
    heart = own()
    told(heart, Start(), 100.0)
    assert told(heart, Absent(), 100.0) == [Create(3)]
    assert told(heart, Absent(), 100.5) == []
    assert heart.deadline() == 102.5
    assert told(heart, Tick(), 102.5) == [Read(3)]


def test_news_that_came_while_a_lease_was_looked_at_is_not_written_into_that_of_another() -> None:
    for holder, passive in (("us", False), ("other", True)):
        heart = own(chance=0.0)
        told(heart, Start(), 100.0)
        told(heart, Poke(), 100.0)
        asked = told(heart, Found(lease(holder, rv="7")), 100.1)
        assert heart.passive is passive
        assert asked == ([] if passive else [Renew("7", 3)])
        assert heart.deadline() == (102.1 if passive else None)


def test_a_lease_that_somebody_deleted_is_created_at_once() -> None:
    heart = own()
    told(heart, Start(), 100.0)
    told(heart, Found(lease("us")), 100.0)
    told(heart, Wrote(lease("us")), 100.0)
    told(heart, Tick(), 105.0)
    assert told(heart, Absent(), 105.0) == [Create(3)]


def test_a_failed_renewal_is_repeated_after_the_retry_period() -> None:
    heart = own()
    told(heart, Start(), 100.0)
    assert told(heart, Found(lease("us", rv="7")), 100.0) == [Renew("7", 3)]
    assert told(heart, Failed(), 103.0) == []
    assert heart.deadline() == 105.0
    assert told(heart, Tick(), 105.0) == [Renew("7", 3)]
    assert heart.last_ok_sent_at is None


def test_a_heartbeat_reads_again_after_a_conflict_and_pauses_after_the_second() -> None:
    heart = own()
    told(heart, Start(), 100.0)
    told(heart, Found(lease("us", rv="7")), 100.0)
    assert told(heart, Conflicted(), 100.0) == [Read(3)]
    assert told(heart, Found(lease("us", rv="8")), 100.0) == [Renew("8", 3)]
    assert told(heart, Conflicted(), 100.0) == []
    assert heart.deadline() == 102.0


def test_a_lease_of_another_is_left_alone_until_it_stood_still_for_its_own_duration() -> None:
    heart = own(chance=0.0)
    told(heart, Start(), 100.0)
    assert told(heart, Found(lease("other", duration=5)), 100.0) == []
    assert heart.passive
    assert heart.deadline() == 102.0
    assert told(heart, Tick(), 102.0) == [Read(3)]
    assert told(heart, Found(lease("other", duration=5, renewed="r2")), 102.0) == []
    assert heart.deadline() == 104.0
    told(heart, Tick(), 104.0)
    told(heart, Found(lease("other", duration=5, renewed="r2")), 104.0)
    told(heart, Tick(), 106.0)
    told(heart, Found(lease("other", duration=5, renewed="r2")), 106.0)
    assert heart.deadline() == 107.0
    assert told(heart, Tick(), 107.0) == [Read(3)]
    assert told(heart, Found(lease("other", duration=5, rv="9", renewed="r2")), 107.0) == [Renew("9", 3)]
    assert heart.passive
    told(heart, Wrote(lease("us", rv="10")), 107.0)
    assert not heart.passive
