# SPDX-License-Identifier: Apache-2.0
"""The owner of one term: the only code that changes its ledger.

A step reads the newest known object, decides (`decision.py`), commits, and submits at most one write; it awaits nothing. What another
machine answers comes back as a key (`landing.py`). Every step starts from the present state of ledger and object, so being killed
between any two steps and rebuilt gives the same result.

Order inside a step: plan, commit, submit. A claim is in the ledger before its write is on its way, and stays until the API server
is known not to publish it.
"""

import logging
from collections.abc import Iterable
from typing import Final, Literal, assert_never

from purelb.allocator import metrics, reservations
from purelb.allocator.configuring import arm, groups_changed, node_changed, recount, status_due
from purelb.allocator.decision import Foreign, Ignore, Leave, Settle, Wait, decide
from purelb.allocator.desired import outlook
from purelb.allocator.flights import Flight
from purelb.allocator.keys import (
    Answered,
    Deadline,
    GroupsChanged,
    Key,
    NamespaceChanged,
    NodeChanged,
    Reported,
    ServiceKey,
    StatusDue,
    Wrote,
)
from purelb.allocator.landing import fingerprint_of, fingerprint_of_desired, land, reference, wake, whole
from purelb.allocator.learning import learn_late
from purelb.allocator.observed import branded, published
from purelb.allocator.occasions import HOUR, Occasion, occasion, of_change
from purelb.allocator.publish import Desired, difference, nothing_of_ours, patch
from purelb.allocator.refusals import AddressChanges, PoolHasRoom, ip_list
from purelb.allocator.refusals import Wait as WaitFor
from purelb.allocator.serving import effective_local
from purelb.allocator.state import PRIORITY_ALLOCATE, PRIORITY_FOLD, Hands, Last, State
from purelb.api import events as rules
from purelb.api import reasons
from purelb.kube.model import Service
from purelb.kube.owner import After, Done, Outcome
from purelb.kube.queue import INITIAL
from purelb.kube.resources import SERVICES

log: Final = logging.getLogger(__name__)

MESSAGE_APART: Final = 60.0


class Reconciler:
    def __init__(self, state: State, hands: Hands) -> None:
        self._state = state
        self._hands = hands

    async def step(self, key: Key, now: float) -> Outcome:
        """One turn of the owner."""
        state, hands = self._state, self._hands
        match key:
            case ServiceKey():
                outcome = self._service(key, now)
                self._pass_on(key)
                if (end := state.ledger.quarantine.deadline()) is not None:
                    hands.later(Deadline(), max(0.01, end - now))
                return outcome
            case Wrote(ticket=number):
                land(state, hands, number, now)
            case Answered(service=service):
                state.flights.asked(service)
                hands.soon(service)
            case GroupsChanged():
                groups_changed(state, hands)
            case NamespaceChanged(name=name):
                for service in state.waiting.in_namespace(name):
                    hands.soon(service, priority=INITIAL)
            case NodeChanged(name=name):
                node_changed(state, hands, name, now)
            case Reported(ip=address):
                claim = state.ledger.claims.get(address)
                for service in claim.holders if claim is not None else ():
                    hands.soon(service, priority=INITIAL)
            case Deadline():
                wake(state, hands, state.ledger.expire(now))
                node_changed(state, hands, None, now)
            case StatusDue():
                status_due(state, hands, key, now)
            case _:
                assert_never(key)
        if isinstance(key, Deadline):
            recount(state, now)
        if isinstance(key, NodeChanged | Deadline):
            arm(state, hands, now)
        return Done()

    # One Service

    def _service(self, key: ServiceKey, now: float) -> Outcome:
        state, hands = self._state, self._hands
        service = state.service(key)
        record = state.ledger.records.get(key)
        if record is not None and (service is None or service.metadata.uid != record.uid):
            self._gone(key, now)
        if service is None:
            self._forget(key)
            wake(state, hands, reservations.of_service(state.ledger, key, None, ours=False))
            return Done()
        if state.flights.aloft(key):
            return Done()  # its answer asks for another turn
        unsure = state.flights.unsure(key, service.metadata.resource_version, now)
        if unsure is not None and not unsure.asked:
            if now >= unsure.due:
                hands.read(key)
                state.flights.ask(unsure, now)
            return After(unsure.due - now)
        return self._decide(key, service, now, settled=unsure is None)

    def _decide(self, key: ServiceKey, service: Service, now: float, *, settled: bool) -> Outcome:
        state, hands, config = self._state, self._hands, self._state.config
        known = state.ledger.records.get(key)
        decision = decide(service, claims=config.claims, ledger=state.ledger, groups=state.groups, rules=config.rules)
        if isinstance(decision, Settle) and decision.learn:
            self._learn(service)
            decision = decide(
                service,
                claims=config.claims,
                ledger=state.ledger,
                groups=state.groups,
                rules=config.rules,
                may_adopt=False,
            )
        match decision:
            case Wait():
                return Done()
            case Ignore() | Foreign():
                self._forget(key)
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=False))
                if isinstance(decision, Foreign) and state.once.new(
                    str(key), rules.FOREIGN_INGRESS, ip_list(published(service)), now
                ):
                    text = f"{ip_list(published(service))} was published by another controller: {decision.text}"
                    self._tell(service, occasion(rules.FOREIGN_INGRESS, text))
                return Done()
            case Leave(plan=plan):
                held = (*known.addresses, *known.leaving) if known is not None else ()
                ours = frozenset(held or (published(service) if branded(service) else ()))
                state.ledger.commit(plan)
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=True))
                state.waiting.put(key, "", ())
                state.tally.gone(key)
                return self._publish(key, service, nothing_of_ours(service, ours), now, settled=settled)
            case Settle():
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=True))
                return self._settle(key, service, decision, now, settled=settled)
            case _:
                assert_never(decision)

    def _settle(self, key: ServiceKey, service: Service, settle: Settle, now: float, *, settled: bool) -> Outcome:
        state = self._state
        before = state.ledger.records.get(key)
        if settle.planned is not None:
            plan = settle.planned.plan
            changed = before is not None and any(
                state.ledger.claims[address].holders[key].facts != plan.facts for address in before.addresses
            )
            state.ledger.commit(plan)
            if changed and before is not None:
                for address in before.addresses:
                    self._wake_all(AddressChanges(address))
        refusal = settle.refusal
        state.waiting.put(key, settle.wish.created, refusal.waits if refusal is not None else ())
        if self._override(key, service, settle, now):
            return Done()
        seen = outlook(
            service,
            settle,
            ledger=state.ledger,
            groups=state.groups,
            announcements=state.announcements,
            now=now,
        )
        self._count(key, settle, seen.desired, now)
        self._tell(service, state.lasting.lasted(key, seen.desired.announced, now))
        outcome = self._publish(
            key, service, seen.desired, now, settled=settled, adopted=settle.adopted, more=self._warnings(settle)
        )
        due = min((at for at in (seen.due, state.lasting.due(key)) if at is not None), default=None)
        if isinstance(outcome, Done) and due is not None:
            return After(max(0.0, due - now))
        return outcome

    def _publish(
        self,
        key: ServiceKey,
        service: Service,
        desired: Desired,
        now: float,
        *,
        settled: bool,
        adopted: bool = False,
        more: Iterable[Occasion] = (),
    ) -> Outcome:
        state, hands = self._state, self._hands
        found = difference(service, desired)
        wanted = fingerprint_of_desired(desired)
        last = state.last.get(key)
        if found.nothing:
            if settled:
                wake(
                    state, hands, state.ledger.confirm(key, frozenset(published(service)), now), namespace=key.namespace
                )
            if desired.allocated is None:
                state.last.pop(key, None)
            elif last is None or last.fingerprint != wanted:
                state.last[key] = Last(wanted, last.at if last is not None else float("-inf"))
            return Done()
        if last is not None and last.stripped == (service.metadata.resource_version, whole(desired)):
            return Done()  # the server keeps dropping a part of it; something has to change first
        if found.messages_only and last is not None and now < last.at + MESSAGE_APART:
            return After(last.at + MESSAGE_APART - now)
        occasions = list(of_change(service, desired, adopted=adopted))
        if occasions and occasions[0].reason == reasons.ADDRESS_ASSIGNED:
            occasions += more
        if (
            last is not None
            and last.fingerprint == wanted
            and fingerprint_of(service) != wanted
            and state.once.new(str(key), rules.STATUS_RESTORED, "", now, again_after=HOUR)
            and (restored := occasion(rules.STATUS_RESTORED, "ingress or annotations were edited and are put back"))
        ):
            occasions.append(restored)
        number = state.flights.depart(
            Flight(
                "status",
                service=key,
                rv=service.metadata.resource_version,
                desired=desired,
                occasions=tuple(occasions),
                adopted=adopted,
                sent_at=now,
            )
        )
        hands.write(
            number,
            SERVICES,
            namespace=key.namespace,
            name=key.name,
            body=patch(service, desired, found, now=hands.wall()),
            rv=service.metadata.resource_version,
            subresource="status",
            slot="status",
            priority=PRIORITY_ALLOCATE if found.ingress else PRIORITY_FOLD,
        )
        return Done()

    def _override(self, key: ServiceKey, service: Service, settle: Settle, now: float) -> bool:
        """Set externalTrafficPolicy to Cluster before the status is written. Answers whether that is on its way."""
        state, hands, wish = self._state, self._hands, settle.wish
        record = state.ledger.records.get(key)
        if not wish.local_policy or record is None or not record.addresses or settle.refusal is not None:
            return False
        holding = [state.groups.holding(state.ledger.pools.where(address)) for address in record.addresses]
        if effective_local(wish, holding, state.config.rules):
            return False
        if state.overrides.contested(key, now):
            if state.once.new(str(key), rules.LOCAL_OVERRIDE_CONTESTED, "", now, again_after=HOUR):
                text = "somebody sets externalTrafficPolicy Local again and again: it is left for an hour"
                self._tell(service, occasion(rules.LOCAL_OVERRIDE_CONTESTED, text))
            return False
        number = state.flights.depart(Flight("policy", service=key, rv=service.metadata.resource_version, sent_at=now))
        hands.write(
            number,
            SERVICES,
            namespace=key.namespace,
            name=key.name,
            body=b'{"spec":{"externalTrafficPolicy":"Cluster"}}',
            rv=service.metadata.resource_version,
            subresource=None,
            slot="policy",
            priority=PRIORITY_ALLOCATE,
        )
        return True

    def _learn(self, service: Service) -> None:
        """One of ours is published with addresses that the ledger gave to others: the older keeps them."""
        state = self._state
        conflicts, moved = learn_late(service, ledger=state.ledger, groups=state.groups, rules=state.config.rules)
        for conflict in conflicts:
            self._tell(service, occasion(reasons.ADDRESS_CONFLICT, conflict.text))
        for other in moved:
            self._hands.soon(other)

    # What follows from it

    def _count(self, key: ServiceKey, settle: Settle, desired: Desired, now: float) -> None:
        state, refusal = self._state, settle.refusal
        kind: Literal["allocated", "partial", "pending"] = "allocated"
        if refusal is not None:
            kind = "partial" if settle.partial else "pending"
        if not desired.addresses:
            state.tally.seen(key, now)
        told = desired.announced
        unannounced = told.reason if desired.addresses and told is not None and not told.status else ""
        if told is not None and told.reason == reasons.ANNOUNCED_TWICE:
            unannounced = told.reason
        new = state.tally.stands(key, kind, refusal.reason if refusal is not None else "", now, unannounced=unannounced)
        if new and refusal is not None:
            self._hands.sink.count(metrics.REJECTED, refusal.group, refusal.reason)
            self._hands.sink.count(metrics.ALLOCATIONS, "local", "refused")
            log.info(
                "%s: %s",
                key,
                refusal.text,
                extra={
                    "code": "addressRefused",
                    "service": str(key),
                    "reason": refusal.reason,
                    "ips": ip_list(desired.addresses) or None,
                },
            )

    def _warnings(self, settle: Settle) -> list[Occasion]:
        wish, found = settle.wish, []
        if settle.planned is not None and settle.planned.warning:
            found.append(occasion(rules.CONFIGURATION_WARNING, settle.planned.warning))
        if wish.addresses and wish.group is not None:
            text = f"purelb.io/addresses decides: purelb.io/service-group {wish.group} has no effect"
            found.append(occasion(rules.CONFIGURATION_WARNING, text))
        if wish.deprecated:
            text = "spec.loadBalancerIP is deprecated: use the annotation purelb.io/addresses"
            found.append(occasion(rules.DEPRECATION_WARNING, text))
        if wish.local_policy and wish.allow_local:
            text = "purelb.io/allow-local keeps externalTrafficPolicy Local"
            found.append(occasion(rules.LOCAL_OVERRIDE, text))
        return [each for each in found if each is not None]

    def _gone(self, key: ServiceKey, now: float) -> None:
        state = self._state
        state.flights.forget(key)
        gone = state.ledger.release(key, now)
        state.last.pop(key, None)
        if gone:
            self._hands.sink.count(metrics.ALLOCATIONS, "local", "released")
            fields = {"code": "addressReleased", "service": str(key), "ips": ip_list(gone)}
            log.info("%s is gone: %s released", key, ip_list(gone), extra=fields)
        wake(state, self._hands, gone, namespace=key.namespace)

    def _forget(self, key: ServiceKey) -> None:
        state = self._state
        state.waiting.put(key, "", ())
        state.tally.gone(key)
        state.overrides.forget(key)
        state.lasting.leave(key)
        state.last.pop(key, None)

    def _pass_on(self, key: ServiceKey) -> None:
        """Whoever was woken for an address and did not need it lets the next one ask."""
        state = self._state
        wait = state.waiting.woken_for(key)
        if wait is None or state.waiting.waits_for(key, wait):
            return
        if not isinstance(wait, PoolHasRoom) or state.ledger.pools.has_free(wait.group, wait.family):
            self._wake_all(wait)

    def _wake_all(self, wait: WaitFor) -> None:
        for service in self._state.waiting.wake(wait):
            self._hands.soon(service, priority=INITIAL)

    def _tell(self, service: Service, told: Occasion | None) -> None:
        if told is not None:
            self._hands.tell(reference(service), told)
