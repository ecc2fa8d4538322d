# SPDX-License-Identifier: Apache-2.0
"""Steps of the owner with a server that answers oddly: every answer is given by hand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from purelb.allocator import metrics
from purelb.allocator.audit import broken, waiting_for_nothing
from purelb.allocator.configuring import groups_changed
from purelb.allocator.keys import Key, ServiceKey, StatusDue, Wrote
from purelb.allocator.landing import tell_all
from purelb.allocator.observed import Ownership
from purelb.allocator.reconciler import Reconciler
from purelb.allocator.serving import Rules
from purelb.allocator.state import Config, State, Stores
from purelb.api.pieces import at_once
from purelb.kube.errors import Status, TransportError
from purelb.kube.model import LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus
from purelb.kube.store import Store
from purelb.kube.writer import Cancelled, Conflicted, Failed, Fenced, Missing, Refused, Superseded, WriteResult, Written
from purelb.process.pacing import Pace
from tests.allocator.objects import INSTALL, group, ip, key, service
from tests.allocator.theatre import merged
from tests.installed import CountingSink

if TYPE_CHECKING:
    from purelb.allocator.occasions import Occasion
    from purelb.allocator.sources.source import Call
    from purelb.kube.metrics import Sink
    from purelb.kube.model import ObjectReference

WEB = key("web")


class ByHand:
    """Hands that only remember what they were told to do."""

    def __init__(self) -> None:
        self.counted = CountingSink()
        self.sink: Sink = self.counted
        self.writes: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[Key] = []
        self.resting: list[Key] = []
        self.waiting: list[tuple[Key, float]] = []
        self.reads: list[ServiceKey] = []
        self.told: list[str] = []
        self.told_ago: list[float] = []
        self.patient: list[bool] = []

    def soon(self, key: Key, *, priority: int = 0) -> None:
        self.asked.append(key)

    def afterwards(self, key: Key) -> None:
        self.resting.append(key)

    def later(self, key: Key, delay: float, *, priority: int = 0) -> None:
        self.waiting.append((key, delay))

    def write(self, number: int, resource: Any, **more: Any) -> None:
        self.writes.append((number, msgspec.json.decode(more["body"])))
        self.patient.append(more.get("patient", False))

    def read(self, service: ServiceKey) -> None:
        self.reads.append(service)

    def call(self, call: Call) -> None:
        raise AssertionError(f"no group here asks a source: {call}")

    def tell(self, regarding: ObjectReference, told: Occasion, *, ago: float = 0.0) -> None:
        self.told.append(told.reason)
        self.told_ago.append(ago)

    def wall(self) -> str:
        return "2030-01-01T00:00:00Z"

    def pace(self) -> Pace:
        return Pace(lambda: 0.0)

    def answered_at(self) -> float:
        return 0.0

    def ask_whether_it_answers(self) -> None:
        """No node is doubted here."""


class Bench:
    def __init__(self, *stored: Service) -> None:
        self.services: Store[Service] = Store()
        groups: Store[Any] = Store()
        groups.upsert(group())
        for each in stored:
            self.services.upsert(each)
        stores = Stores(self.services, groups, Store(), Store(), Store(), Store(), Store())
        self.state = State(Config(Ownership(default_announcer=True), Rules(), INSTALL), stores)
        self.hands = ByHand()
        self.reconciler = Reconciler(self.state, self.hands)
        at_once(groups_changed(self.state, self.hands, now=0.0))

    async def step(self, key: Key = WEB, now: float = 0.0) -> None:
        await self.reconciler.step(key, now)
        assert not list(broken(self.state.ledger))

    async def answer(self, result: WriteResult, now: float = 0.0) -> None:
        number, _ = self.hands.writes[-1]
        self.state.flights.answer(number, result, now)
        await self.step(Wrote(number), now)

    def held(self) -> tuple[object, ...]:
        record = self.state.ledger.records.get(WEB)
        return () if record is None else record.addresses


def published(of: Service, rv: str, *ips: str) -> Service:
    entries = tuple(LoadBalancerIngress(ip=text) for text in ips)
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=entries))
    return replace(of, metadata=replace(of.metadata, resource_version=rv), status=status)


async def test_a_server_that_drops_a_part_is_not_asked_again_until_something_changes() -> None:
    bench = Bench(service())
    await bench.step()
    assert len(bench.hands.writes) == 1
    stripped = published(service(), "2", "192.0.2.10")
    bench.services.upsert(stripped)
    await bench.answer(Written(stripped, "2"))
    for _ in range(3):
        await bench.step(now=100.0)
    assert len(bench.hands.writes) == 1
    bench.services.upsert(published(service(), "3", "192.0.2.10"))
    await bench.step(now=200.0)
    assert len(bench.hands.writes) == 2


async def test_who_has_what_it_wants_is_looked_at_again_when_nothing_waits_to_be_written() -> None:
    bench = Bench(service())
    await bench.step()
    bench.hands.asked.clear()
    await bench.answer(Written(await landed(bench), "2"))
    assert (WEB in bench.hands.asked, bench.hands.resting) == (False, [WEB])


@pytest.mark.parametrize("edited", [True, False], ids=["edited", "not edited"])
async def test_who_corrects_what_is_being_refused_does_not_wait_for_the_next_try(edited: bool) -> None:
    bench = Bench(service())
    await bench.step()
    if edited:
        bench.services.upsert(service(annotations={"purelb.io/service-group": "nowhere"}))
        await bench.step()
    bench.hands.asked.clear()
    await bench.answer(Refused(Status(code=422, reason="Invalid", message="no")))
    assert (WEB in bench.hands.asked) is edited
    assert any(key == WEB for key, _ in bench.hands.waiting) is not edited


async def test_who_was_asked_while_its_write_was_on_its_way_is_asked_again_at_once() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.step()
    bench.hands.asked.clear()
    await bench.answer(Written(await landed(bench), "2"))
    assert (WEB in bench.hands.asked, bench.hands.resting) == (True, [])


@pytest.mark.parametrize(
    "result",
    [
        Conflicted(),
        Failed(TransportError("reset", "cut"), attempts=3),
        Refused(Status(code=403, reason="Forbidden", message="no")),
        Fenced(),
        Superseded(),
        Cancelled(),
        Missing(),
    ],
    ids=lambda result: type(result).__name__,
)
async def test_an_address_whose_write_was_not_applied_stays_claimed(result: WriteResult) -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(result)
    assert bench.held() == (ip("192.0.2.10"),)
    assert bench.state.ledger.pools.usage("default", 4).claimed == 1
    assert bench.hands.told == []


async def test_what_a_fence_kept_from_being_sent_is_asked_for_again() -> None:
    """Most terms end then, but a lease may be renewed after all."""
    bench = Bench(service())
    await bench.step()
    await bench.answer(Fenced())
    group_status = StatusDue(INSTALL, "default")
    await bench.step(group_status)
    await bench.answer(Fenced())
    assert {WEB, group_status} <= {asked for asked, _ in bench.hands.waiting}


async def test_what_left_is_not_free_while_a_write_of_unknown_outcome_may_have_published_it() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Failed(TransportError("timeout", "no answer"), attempts=1))
    bench.services.upsert(
        service(annotations={"purelb.io/service-group": "nowhere"})
    )  # the version is still the old one
    await bench.step(now=1.0)
    assert bench.hands.reads == [WEB]
    assert bench.state.ledger.pools.usage("default", 4).claimed == 1


FAILED = Failed(TransportError("reset", "cut"), attempts=3)


async def landed(bench: Bench, rv: str = "2", **more: Any) -> Service:
    """What the newest object is when the last write was applied; `more` are annotations somebody adds at once."""
    _, body = bench.hands.writes[-1]
    found = bench.services.get(str(WEB))
    assert found is not None
    made: Service = merged(found, body)
    noted = {**(made.metadata.annotations or {}), **more}
    made = replace(made, metadata=replace(made.metadata, resource_version=rv, annotations=noted))
    bench.services.upsert(made)
    return made


@pytest.mark.parametrize("result", [FAILED, Conflicted()], ids=["no answer", "a conflict when it was repeated"])
@pytest.mark.parametrize("first", ["answer", "event"])
async def test_what_was_written_is_told_once_although_the_answer_was_lost(
    result: WriteResult, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = Bench(service())
    await bench.step()
    if first == "event":
        await landed(bench)
        await bench.step()
    await bench.answer(result)
    assert bench.hands.told == []
    if first == "answer":
        await landed(bench)
    for _ in range(3):
        await bench.step(now=1.0)
    assert bench.hands.told == ["AddressAssigned"]
    assert bench.hands.counted.counts[metrics.ALLOCATIONS.name, "local", "assigned"] == 1
    assert [code for record in caplog.records if (code := getattr(record, "code", "")) == "addressAssigned"]
    assert len(bench.hands.writes) == 1


async def test_what_was_not_written_is_not_told_until_it_is() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Conflicted())
    bench.services.upsert(service(rv="2", labels={"by": "somebody"}))
    await bench.step(now=1.0)
    assert bench.hands.told == []
    await bench.answer(Written(await landed(bench, "3"), "3"))
    await bench.step(now=2.0)
    assert bench.hands.told == ["AddressAssigned"]


async def test_a_write_that_came_after_it_was_given_up_is_told_when_it_is_seen() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(FAILED)
    await bench.step(now=100.0)  # the version is believed, and the same is written upon it again
    assert len(bench.hands.writes) == 2
    await landed(bench)
    await bench.answer(Conflicted(), now=101.0)
    await bench.step(now=102.0)
    assert bench.hands.told == ["AddressAssigned"]


async def test_an_address_is_told_although_somebody_edited_our_annotations_when_its_answer_was_lost() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(FAILED)
    await landed(bench, **{"purelb.io/allocated-from": "elsewhere"})
    await bench.step(now=1.0)
    assert bench.hands.told == ["AddressAssigned"]
    await bench.answer(Written(await landed(bench, "3"), "3"), now=2.0)
    await bench.step(now=2.0)
    assert bench.hands.told == ["AddressAssigned", "StatusRestored"]


async def test_what_was_lost_is_not_told_of_another_service_of_its_name() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(FAILED)
    found = await landed(bench)
    bench.services.upsert(replace(found, metadata=replace(found.metadata, uid="another")))
    await bench.step(now=1.0)
    assert bench.hands.told == []


async def test_that_an_edit_was_put_back_is_told_after_the_write_that_did_and_not_lost_with_one_that_did_not() -> None:
    bench = Bench(service())
    await bench.step()
    seen = await landed(bench)
    await bench.answer(Written(seen, "2"))
    bench.services.upsert(published(seen, "3", "192.0.2.77"))
    await bench.step(now=1.0)
    await bench.answer(Conflicted(), now=1.0)
    bench.services.upsert(published(seen, "4", "192.0.2.77"))
    await bench.step(now=2.0)
    assert "StatusRestored" not in bench.hands.told
    await bench.answer(Written(await landed(bench, "5"), "5"), now=2.0)
    await bench.step(now=2.0)
    assert bench.hands.told == ["AddressAssigned", "StatusRestored"]


async def test_what_became_true_is_told_in_the_next_turn_with_the_time_at_which_it_did(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="purelb.allocator")
    bench = Bench(service())
    await bench.step()
    await bench.answer(Written(await landed(bench), "2"), now=1.0)
    assert bench.hands.told == [], "whoever has no address yet comes first"
    for _ in range(2):
        await bench.step(now=3.5)
    assert bench.hands.told == ["AddressAssigned"]
    assert bench.hands.told_ago == [2.5]
    (line,) = [record for record in caplog.records if getattr(record, "code", "") == "addressAssigned"]
    assert (vars(line)["ago"], vars(line)["took"]) == (2.5, 1.0)


async def test_what_a_service_that_is_gone_was_given_is_told_before_its_end() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Written(await landed(bench), "2"))
    bench.services.remove("shop/web", None, "3")
    await bench.step(now=1.0)
    assert bench.hands.told == ["AddressAssigned"]


async def test_a_term_that_ends_tells_what_no_turn_has_told() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Written(await landed(bench), "2"))
    for _ in range(2):
        at_once(tell_all(bench.state, bench.hands, now=4.0))
    assert (bench.hands.told, bench.hands.told_ago) == (["AddressAssigned"], [4.0])


async def test_an_override_whose_answer_was_lost_counts_and_is_told() -> None:
    bench = Bench(service(external_traffic_policy="Local"))
    await bench.step()
    await bench.answer(FAILED)
    await landed(bench)
    await bench.step(now=1.0)
    assert bench.hands.told == ["LocalOverride"]


async def test_nothing_waits_for_nothing_after_any_answer() -> None:
    for result in (Conflicted(), Failed(TransportError("reset", "cut"), attempts=1), Refused(Status(code=422))):
        bench = Bench(service())
        await bench.step()
        assert not list(waiting_for_nothing(bench.state.ledger, bench.state.flights.outstanding))
        await bench.answer(result)
        assert WEB in [key for key, _ in bench.hands.waiting]


async def test_who_is_deleted_while_the_answer_is_lost_holds_what_its_status_shows() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Failed(TransportError("reset", "it was cut"), 1))
    seen = published(service(), "2", "192.0.2.10")
    bench.services.upsert(replace(seen, metadata=replace(seen.metadata, deletion_timestamp="2030-01-01T00:00:00Z")))
    await bench.step(now=1.0)
    assert bench.held() == (ip("192.0.2.10"),)
    assert not list(waiting_for_nothing(bench.state.ledger, bench.state.flights.outstanding))


async def test_a_decision_while_a_write_is_on_its_way_waits_for_the_answer() -> None:
    bench = Bench(service())
    await bench.step()
    bench.services.upsert(service(rv="5", annotations={"purelb.io/addresses": "192.0.2.12"}))
    await bench.step()
    assert len(bench.hands.writes) == 1
    await bench.answer(Conflicted())
    await bench.step()
    assert bench.hands.writes[-1][1]["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.12", "ipMode": "VIP"}]


async def test_a_service_made_again_under_its_name_starts_anew() -> None:
    bench = Bench(service())
    await bench.step()
    bench.services.upsert(service(uid="another", rv="9"))
    await bench.step()
    assert bench.state.ledger.records[WEB].uid == "another"
    assert {h.uid for claim in bench.state.ledger.claims.values() for h in claim.holders.values()} == {"another"}
    assert len(bench.hands.writes) == 2


async def test_services_taken_over_from_purelb_in_go_keep_their_addresses_and_get_their_wish_recorded() -> None:
    noted = {
        "purelb.io/allocated-by": "PureLB",
        "purelb.io/allocated-from": "default",
        "purelb.io/pool-type": "local",
        "purelb.io/service-group": "elsewhere",
    }
    bench = Bench()
    bench.services.upsert(published(service(annotations=noted), "4", "192.0.2.11"))
    await bench.step()
    assert bench.held() == (ip("192.0.2.11"),)
    _, body = bench.hands.writes[0]
    assert body["metadata"]["annotations"]["purelb.io/allocated-wish"] == "group=elsewhere"
    assert "loadBalancer" not in body["status"]
