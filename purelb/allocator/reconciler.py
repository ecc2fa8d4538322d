# SPDX-License-Identifier: Apache-2.0
"""The owner of one term: the only code that changes its ledger.

A step reads the newest known object, decides (`decision.py`), commits, and submits at most one write; it awaits nothing. What another
machine answers comes back as a key (`landing.py`). Every step starts from the present state of ledger and object, so being killed
between any two steps and rebuilt gives the same result.

Order inside a step: plan, commit, submit. A claim is in the ledger before its write is on its way, and stays until the API server
is known not to publish it.
"""

import logging
from typing import Final, assert_never

from msgspec.structs import replace

from purelb.allocator import conflicts, lending, metrics, reevaluating, reservations
from purelb.allocator.configuring import ask_all, groups_changed, namespace_changed
from purelb.allocator.counting import count, count_leaving, warnings
from purelb.allocator.deadlines import arm, expired, lan_expired, recount
from purelb.allocator.decision import Decision, Foreign, Ignore, Leave, Settle, Wait, decide
from purelb.allocator.desired import outlook
from purelb.allocator.handing_on import hand_on
from purelb.allocator.hearing import node_changed
from purelb.allocator.keys import (
    AgentsDue,
    Answered,
    Deadline,
    GroupsChanged,
    Key,
    LivesChanged,
    NamespaceChanged,
    NodeChanged,
    OtherKey,
    ReadAgain,
    Reported,
    ServiceKey,
    StatusDue,
    Wrote,
)
from purelb.allocator.landing import find_out, land, priority_of, reference, tell, wake
from purelb.allocator.learning import left_behind
from purelb.allocator.observed import listed, marked, published
from purelb.allocator.occasions import HOUR, Occasion, occasion
from purelb.allocator.overriding import kept, override
from purelb.allocator.publish import nothing_of_ours
from purelb.allocator.ranges import ip_text
from purelb.allocator.refusals import ip_list, is_about_namespace
from purelb.allocator.state import Hands, State
from purelb.allocator.statuses import agents_due, group_due
from purelb.allocator.submitting import submit
from purelb.allocator.taken import leave_to_others, on_lan
from purelb.allocator.waits import AddressChanges, KeyMoves
from purelb.allocator.waits import Wait as WaitFor
from purelb.allocator.wish import Wish, read_wish, rough_wish
from purelb.api import events as rules
from purelb.api import reasons
from purelb.api.pieces import Pieces
from purelb.kube.model import Service
from purelb.kube.owner import After, Done, Outcome
from purelb.kube.queue import INITIAL

log: Final = logging.getLogger(__name__)

UNSEEN_FOR: Final = 2.0  # for so long nobody is told that the news of its namespace is late


class Reconciler:
    def __init__(self, state: State, hands: Hands) -> None:
        self._state = state
        self._hands = hands

    async def step(self, key: Key, now: float) -> Outcome:
        """One turn of the owner. Long ones pause for the loop; no other key is handled meanwhile."""
        outcome = self._service_turn(key, now) if isinstance(key, ServiceKey) else await self._other_turn(key, now)
        for moved in self._state.ledger.index.keys_moved():
            self._wake_all(KeyMoves(moved))
        ledger = self._state.ledger
        for name in (*ledger.pools.other_reservations(), *ledger.index.excluded_moved()):
            if (group := self._state.groups.accepted.get(name)) is not None:
                self._hands.soon(StatusDue(group.namespace, name), priority=INITIAL)
        if self._state.loans.lenders:
            lending.freed(self._state, self._hands, now)
            if (end := self._state.loans.deadline()) is not None:
                self._hands.later(Deadline(), max(0.01, end - now))
        return outcome

    def _service_turn(self, key: ServiceKey, now: float) -> Outcome:
        outcome = self._service(key, now)
        if isinstance(outcome, After) and key in self._state.waiting:
            # With the priority of an event it would overtake, when it is woken meanwhile, who was woken before it.
            outcome = After(outcome.delay, priority=INITIAL)
        if (end := self._state.ledger.quarantine.deadline()) is not None:
            self._hands.later(Deadline(), max(0.01, end - now))
        return outcome

    async def _other_turn(self, key: OtherKey, now: float) -> Outcome:
        state, hands = self._state, self._hands
        match key:
            case Wrote(ticket=number):
                land(state, hands, number, now)
            case ReadAgain(service=service):
                state.flights.asked(service)
                hands.soon(service, priority=priority_of(state, service))
            case Answered(ticket=number):
                lending.answered(state, hands, number, now)
            case GroupsChanged():
                pace = hands.pace()
                await pace.through(groups_changed(state, hands, now))
                await pace.through(lending.configure(state, hands, now))
            case NamespaceChanged(name=name):
                await hands.pace().through(namespace_changed(state, hands, name))
            case NodeChanged(name=name):
                await hands.pace().through(node_changed(state, hands, name, now))
            case Reported(ip=address):
                claim = state.ledger.claims.get(address)
                for service in claim.holders if claim is not None else ():
                    hands.soon(service, priority=INITIAL)
            case LivesChanged():
                await hands.pace().through(ask_all(hands, state.tally.unannounced()))
            case Deadline():
                await hands.pace().through(self._deadline(now))
            case StatusDue():
                group_due(state, hands, key, now)
            case AgentsDue():
                agents_due(state, hands, now)
            case _:
                assert_never(key)
        if isinstance(key, NodeChanged | Deadline):
            arm(state, hands, now)
        return Done()

    def _deadline(self, now: float) -> Pieces[None]:
        state, hands = self._state, self._hands
        yield from expired(state, hands, now)
        lending.due(state, hands, now)
        lan_expired(state, hands, now)
        yield from node_changed(state, hands, None, now)
        yield from recount(state, now)

    # One Service

    def _service(self, key: ServiceKey, now: float) -> Outcome:
        state, hands = self._state, self._hands
        if (number := state.flights.applied(key)) is not None:
            land(state, hands, number, now, in_its_turn=True)
        tell(state, hands, key, now)
        service = state.service(key)
        record = state.ledger.records.get(key)
        if record is not None and (service is None or service.metadata.uid != record.uid):
            self._gone(key, now)
            if service is not None:  # what is remembered is about another one of its name
                self._forget(key, now)
        if service is None:
            state.flights.forget(key)
            self._forget(key, now)
            wake(state, hands, reservations.of_service(state.ledger, key, None, ours=False))
            hand_on(state, hands, key)
            return Done()
        if state.flights.aloft(key):
            self._foresee(key, service)
            state.flights.ask_after(key)
            return Done()
        find_out(state, hands, key, service, now)
        tell(state, hands, key, now)
        unsure = state.flights.unsure(key, service.metadata.resource_version, now)
        if unsure is not None and not unsure.asked:
            self._foresee(key, service)
            if now >= unsure.due:
                hands.read(key)
                state.flights.ask(unsure, now)
            return After(unsure.due - now)
        state.loans.forgive(key, now)
        outcome = self._decide(key, service, now, settled=unsure is None)
        hand_on(state, hands, key)
        return outcome

    def _foresee(self, key: ServiceKey, service: Service) -> None:
        """It is not decided yet: whoever comes meanwhile meets what it asks for by now."""
        wish = rough_wish(service)
        for address in self._state.ledger.foresee(key, key=wish.sharing_key, ports=wish.ports):
            self._wake_all(AddressChanges(address))

    def _decide(self, key: ServiceKey, service: Service, now: float, *, settled: bool) -> Outcome:
        state, hands = self._state, self._hands
        if settled:  # whatever it shows is published, also when the answer to the write was lost
            gone = state.ledger.confirm(key, frozenset(published(service)), now)
            wake(state, hands, gone, namespace=key.namespace)
        known = state.ledger.records.get(key)
        self._leave_to_others(key, service, now)
        decision = self._decision(service)
        if isinstance(decision, Settle) and decision.learn:
            conflicts.found_late(state, hands, service, now)
            decision = self._decision(service, may_adopt=False)
        match decision:
            case Wait():
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=True))
                lending.settled(state, hands, key, None, now)
                state.waiting.put(key, "", ())  # it gets nothing more: at the head of a line it would let nobody pass
                if known is None:
                    state.tally.gone(key)
                    return Done()
                due = count_leaving(state, hands, key, service, now)
                return Done() if due is None else After(max(0.0, due - now))
            case Ignore():
                self._forget(key, now)
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=False))
                return Done()
            case Foreign():
                return self._foreign(key, service, decision, now, settled=settled)
            case Leave(plan=plan):
                held = (*known.addresses, *known.leaving) if known is not None else ()
                ours = held or left_behind(service, ledger=state.ledger)
                had = state.ledger.published(key) if held else ours
                state.ledger.commit(plan)
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=True))
                state.waiting.put(key, "", ())
                state.tally.gone(key)
                lending.settled(state, hands, key, None, now)
                state.loans.forget(key)
                nothing = nothing_of_ours(service, frozenset(ours))
                return submit(state, hands, key, service, nothing, now, settled=settled, ours=had)
            case Settle():
                wake(state, hands, reservations.of_service(state.ledger, key, service, ours=True))
                return self._settle(key, service, conflicts.explained(state, key, decision), now, settled=settled)
            case _:
                assert_never(decision)

    def _decision(self, service: Service, *, may_adopt: bool = True) -> Decision:
        state, config = self._state, self._state.config
        return decide(
            service,
            ownership=config.ownership,
            ledger=state.ledger,
            groups=state.groups,
            rules=config.rules,
            advertised=state.advertised,
            loans=state.loans,
            may_adopt=may_adopt,
            agreed=state.agreed.get(ServiceKey(service.metadata.namespace, service.metadata.name)),
        )

    def _settle(self, key: ServiceKey, service: Service, settle: Settle, now: float, *, settled: bool) -> Outcome:
        state, hands = self._state, self._hands
        before = state.ledger.records.get(key)
        if (before is None or not before.addresses) and not settle.adopted:
            state.tally.seen(key, now)
        if settle.planned is not None:
            plan = settle.planned.plan
            changed = before is not None and any(
                state.ledger.claims[address].holders[key].facts != plan.facts for address in before.addresses
            )
            state.ledger.commit(plan)
            if not settle.adopted:
                had = before.addresses if before is not None else ()
                chosen = [a for a in plan.addresses if a not in had and a not in settle.wish.addresses]
                state.taken.given(key, chosen, now)
            if changed and before is not None:
                for address in before.addresses:
                    self._wake_all(AddressChanges(address))
        if settle.planned is not None and settle.planned.plan.addresses:
            state.agreed[key] = settle.wish_text
        else:
            state.agreed.pop(key, None)
        if settle.planned is not None and settle.planned.several:
            state.several[key] = settle.planned.several
        else:
            state.several.pop(key, None)
        settle, besides = reevaluating.outcome(state, key, settle)
        refusal = settle.refusal
        waits = refusal.waits if refusal is not None else ()
        if refusal is not None and settle.wish.sharing_key is not None:
            waits = (*waits, KeyMoves(settle.wish.sharing_key))
        state.waiting.put(key, settle.wish.created, waits)
        lending.settled(state, hands, key, refusal, now)
        said_at = state.loans.says_so_at(key, refusal)
        holds = before is not None and before.addresses
        if refusal is not None and is_about_namespace(refusal) and not holds:
            said_at = state.tally.first_seen(key, now) + UNSEEN_FOR
        quiet = said_at is not None and now < said_at
        seen = outlook(
            service,
            settle,
            ledger=state.ledger,
            groups=state.groups,
            announcements=state.announcements,
            now=now,
            quiet=quiet,
        )
        count(state, hands, key, settle, seen, now)
        if override(state, hands, key, service, settle, now):
            return Done()
        self._tell(service, kept(state, key, settle))
        self._tell(service, state.lasting.lasted(key, seen.desired.announced, now))
        outcome = submit(
            state,
            hands,
            key,
            service,
            seen.desired,
            now,
            settled=settled,
            adopted=settle.adopted,
            more=warnings(settle, state.groups.elsewhere),
            besides=besides,
        )
        if state.restores.contested(key, now) and state.once.new(
            str(key), "statusContested", "", now, again_after=HOUR
        ):
            fields = {"code": "statusContested", "service": str(key)}
            log.info(
                "somebody else writes the status of %s again and again: it is put back ever later", key, extra=fields
            )
        rests = state.overrides.rests_until(key, now) if settle.wish.local_policy else None
        ends = (seen.due, state.lasting.due(key), said_at if quiet else None, state.loans.ask_again_at(key), rests)
        due = min([at for at in ends if at is not None], default=None)
        if due is None or (isinstance(outcome, After) and now + outcome.delay <= due):
            return outcome
        return After(max(0.0, due - now))

    def _foreign(self, key: ServiceKey, service: Service, decision: Foreign, now: float, *, settled: bool) -> Outcome:
        """Another controller serves it: what we said while it waited for us is taken back. It is ours when a group comes that has it."""
        state, hands, theirs = self._state, self._hands, listed(service) or "what is in its status"
        last = state.last.get(key)
        self._forget(key, now)
        wake(state, hands, reservations.of_service(state.ledger, key, service, ours=False))
        state.waiting.put(key, service.metadata.creation_timestamp or "", decision.waits)
        if state.once.new(f"{key} {service.metadata.uid}", rules.FOREIGN_INGRESS, theirs, now):
            text = f"{theirs} was published by another controller: {decision.text}"
            told = occasion(rules.FOREIGN_INGRESS, text)
            # Nothing of ours may stand in this Service, so only the Event itself shows that it was told.
            self._tell(service, replace(told, once=theirs) if told is not None else None)
        if not marked(service):
            return Done()
        if last is not None:  # what the server drops from that write is not written again and again
            state.last[key] = last
        return submit(state, hands, key, service, nothing_of_ours(service, frozenset()), now, settled=settled, ours=())

    def _leave_to_others(self, key: ServiceKey, service: Service, now: float) -> None:
        """Another host on the LAN has an address that nobody uses yet: the plan that follows takes the next one.

        An address that its user has asked for meanwhile stays, and is left to nobody.
        """
        state = self._state
        record = state.ledger.records.get(key)
        if record is None or not any(state.taken.concerns(address) for address in record.addresses):
            return
        wish = read_wish(service)
        for address in wish.addresses if isinstance(wish, Wish) else ():
            if address in record.addresses and state.taken.stays(address):
                wake(state, self._hands, state.ledger.reserve(on_lan(address), ()))
        left = leave_to_others(state.taken, key, ledger=state.ledger, announcements=state.announcements, now=now)
        for address, said in left:
            fields = {
                "code": "addressLeft",
                "service": str(key),
                "ips": ip_text(address),
                "reason": reasons.DUPLICATE_ON_LAN,
            }
            log.info("%s leaves %s to another host on the LAN", key, ip_text(address), extra=fields)
            self._tell(service, occasion(reasons.DUPLICATE_ON_LAN, said))
            arm(state, self._hands, now)

    # What follows from it

    def _gone(self, key: ServiceKey, now: float) -> None:
        state = self._state
        state.flights.forget(key)
        gone = state.ledger.release(key, now)
        state.last.pop(key, None)
        state.refused_as.pop(key, None)
        state.agreed.pop(key, None)
        state.keep_local.discard(key)
        if gone:
            self._hands.sink.count(metrics.ALLOCATIONS, "local", "released")
            fields = {"code": "addressReleased", "service": str(key), "ips": ip_list(gone)}
            log.info("%s is gone: %s released", key, ip_list(gone), extra=fields)
        wake(state, self._hands, gone, namespace=key.namespace)

    def _forget(self, key: ServiceKey, now: float) -> None:
        state = self._state
        lending.settled(state, self._hands, key, None, now)
        state.loans.forget(key)
        state.waiting.put(key, "", ())
        state.tally.gone(key)
        state.overrides.forget(key)
        state.restores.forget(key)
        state.taken.forget(key)
        state.several.pop(key, None)
        state.lasting.leave(key)
        state.conflicts.pop(key, None)
        state.last.pop(key, None)
        state.refused_as.pop(key, None)
        state.agreed.pop(key, None)
        state.keep_local.discard(key)

    def _wake_all(self, wait: WaitFor) -> None:
        for service in self._state.waiting.wake(wait):
            self._hands.soon(service, priority=INITIAL)

    def _tell(self, service: Service, told: Occasion | None) -> None:
        if told is not None:
            self._hands.tell(reference(service), told)
