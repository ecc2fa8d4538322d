# SPDX-License-Identifier: Apache-2.0
"""Steps that concern no single Service: groups were edited, a node or its report changed.

Groups are read all at once and swapped in one assignment. Nothing is taken from anybody: claims are attributed anew, and only
Services of which something visible changes are looked at again. What costs more with every address is done in pieces.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Final

from purelb.allocator import audit, reservations
from purelb.allocator.announcements import MISSING_FOR
from purelb.allocator.attribution import LOCAL, home_of, origin_of
from purelb.allocator.claims import Claim
from purelb.allocator.groups import Groups
from purelb.allocator.keys import AgentsDue, Deadline, LivesChanged, Reported, ServiceKey, StatusDue
from purelb.allocator.landing import wake
from purelb.allocator.multipool import is_active
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import AddressChanges, SubnetActive
from purelb.allocator.state import Hands, State
from purelb.allocator.taken import on_lan
from purelb.api import leases
from purelb.api.groups import Group
from purelb.api.kinds import ConfigReport, LBNodeStatus
from purelb.api.pieces import CHANGES, LOOKS, Pieces
from purelb.kube.owner import Fatal
from purelb.kube.queue import INITIAL
from purelb.net.ranges import Interval, IPNetwork

log: Final = logging.getLogger(__name__)

FOLD_AFTER: Final = 0.2
AUDIT_EVERY: Final = 60.0


def reading_groups(state: State, *, before: Groups | None = None) -> Pieces[Groups]:
    """All stored groups, compared with each other."""
    return Groups.reading(
        state.stores.groups.values(),
        install_namespace=state.config.install_namespace,
        scope=state.config.scope,
        labels_of=state.stores.labels_of,
        sources=state.config.sources,
        before=before,
    )


def groups_changed(state: State, hands: Hands, now: float) -> Pieces[None]:
    """Some group was edited."""
    old = state.groups
    new = yield from reading_groups(state, before=old)
    claims, state.groups = state.ledger.claims, new
    moved = yield from state.ledger.configuring(
        new.layouts, new.atlas, reuse_delays=new.reuse_delays, elsewhere=new.elsewhere
    )
    concerned: Iterable[Address] = claims if _looks_differ(old, new) else moved
    if concerned is moved and _exclusions(old) != _exclusions(new):
        concerned = yield from _with_strays(claims, moved)
    for number, address in enumerate(concerned):
        if not number % CHANGES:
            yield
        claim = claims[address]
        look = _look(old, address, claim)
        if claim.entry is None and (group := old.holding(old.atlas.where(address))) is not None:
            state.ledger.trace(address, origin_of(group))
        if _look(new, address, claim) != look:
            for service in (*claim.holders, *state.waiting.wake(AddressChanges(address))):
                hands.soon(service, priority=INITIAL)
    yield
    names = {*old.accepted, *new.accepted}
    edited = {name for name in names if old.accepted.get(name) != new.accepted.get(name)}
    others = any(_admits(old.accepted.get(name)) != _admits(new.accepted.get(name)) for name in edited)
    yield from ask_all(hands, state.waiting.everybody() if others else state.waiting.groups_changed(edited))
    yield from ask_all(hands, _to_grow(state, old, new))
    yield from _ask_the_freed(state, hands, old, new)
    for place, standing in new.standings.items():
        yield
        known = old.standings.get(place)
        if known is None or (known.reason, known.text) != (standing.reason, standing.text):
            fields = {
                "code": "groupRead",
                "group": standing.name,
                "reason": standing.reason,
                "namespace": standing.namespace,
            }
            log.info("ServiceGroup %s: %s: %s", standing.name, standing.reason, standing.text, extra=fields)
        if known != standing or old.stored.get(place) != new.stored.get(place):
            hands.soon(StatusDue(*place), priority=INITIAL)
    arm(state, hands, now)


def namespace_changed(state: State, hands: Hands, name: str) -> Pieces[None]:
    """Its labels are others, so other groups may serve it: whoever of it waits is asked again, or may grow; nobody is moved."""
    yield from ask_all(hands, state.waiting.in_namespace(name))
    for number, service in enumerate(state.several):
        if not number % LOOKS:
            yield
        if service.namespace == name:
            hands.soon(service, priority=INITIAL)
    for group in state.groups.accepted.values():
        if group.namespace_selector is not None:
            hands.soon(StatusDue(group.namespace, group.name), priority=INITIAL)


def ask_all(hands: Hands, services: Iterable[ServiceKey]) -> Pieces[None]:
    """Look at many Services again, when there is nothing better to do."""
    for number, service in enumerate(services):
        if not number % CHANGES:
            yield
        hands.soon(service, priority=INITIAL)


def expired(state: State, hands: Hands, now: float) -> Pieces[None]:
    """What was kept back for long enough may be handed out again."""
    while ended := state.ledger.expire(now, most=CHANGES):
        wake(state, hands, ended)
        yield


def _admits(group: Group | None) -> tuple[object, ...] | None:
    """What of a group decides whom it serves, and after which others: if that changed, it may serve who waits elsewhere."""
    if group is None:
        return None
    chosen = (group.auto_assign, group.namespace_default, group.priority, group.service_selector)
    serves = (group.namespaces, group.namespace_selector, group.enforce_namespaces)
    return (*chosen, *serves, group.source, group.drain, group.quota_per_namespace, group.multi_pool)


def _looks_differ(old: Groups, new: Groups) -> bool:
    """Whether an address may look different although the same group holds it."""
    both = old.accepted.keys() & new.accepted.keys()
    return old.refused.keys() != new.refused.keys() or any(
        _style(old.accepted[name]) != _style(new.accepted[name]) for name in both
    )


def _style(group: Group) -> tuple[object, ...]:
    return (group.name, group.announce, group.skip_ipv6_dad, group.off_subnet)


def _exclusions(groups: Groups) -> Mapping[str, tuple[tuple[Interval, ...], ...]]:
    """What each group contains and does not hand out."""
    found = {name: tuple(e.excluded for e in group.entries) for name, group in groups.accepted.items()}
    return {name: excluded for name, excluded in found.items() if any(excluded)}


def _with_strays(claims: Mapping[Address, Claim], moved: Iterable[Address]) -> Pieces[Iterable[Address]]:
    """What moved, and what is in no group: an exclusion that is laid over a stray moves nothing, but is told."""
    found = dict.fromkeys(moved)
    for number, (address, claim) in enumerate(claims.items()):
        if not number % LOOKS:
            yield
        if claim.entry is None:
            found[address] = None
    return found


def _look(groups: Groups, address: Address, claim: Claim) -> tuple[object, ...]:
    """What of a group shows in a Service that holds the address."""
    group = groups.holding(groups.atlas.where(address)) or groups.elsewhere.get(claim.origin.group)
    if group is None:
        place = groups.atlas.where(address)
        return (claim.origin.group in groups.refused, place.entry.group if place is not None else "")
    return _style(group)


def _to_grow(state: State, old: Groups, new: Groups) -> Iterator[ServiceKey]:
    """Who takes one address of each entry, where entries are other than before or the group has just begun to ask for it.

    Who has an address that came from a group of this name is asked as well.
    """
    both = [(was, group) for name, group in new.accepted.items() if (was := old.accepted.get(name)) is not None]
    edited = {group.name for was, group in both if was.entries != group.entries}
    begun = {group.name for was, group in both if group.multi_pool and not was.multi_pool}
    begun |= {
        group.name for was, group in both if group.balance_pools != was.balance_pools
    }  # it refuses who asks for several
    index, came_or_went = state.ledger.index, old.accepted.keys() ^ new.accepted.keys()
    begun |= {name for name in came_or_went if index.strays(name, 4) or index.strays(name, 6)}
    yield from (service for service, group in state.several.items() if group in edited)
    if begun:
        for claim in state.ledger.claims.values():
            home = claim.entry.group if claim.entry is not None else claim.origin.group  # a stray came from one
            if home in begun:
                yield from claim.holders


def _ask_the_freed(state: State, hands: Hands, old: Groups, new: Groups) -> Pieces[None]:
    """Who takes one address of each entry of a group that its namespace may use again: some may have been added meanwhile."""
    if _fences(old) == _fences(new):
        return

    @cache
    def may_use(groups: Groups, name: str, namespace: str) -> bool:
        return (group := groups.accepted.get(name)) is not None and groups.denial(group, namespace) is None

    for number, (service, group) in enumerate(state.several.items()):
        if not number % LOOKS:
            yield
        if may_use(new, group, service.namespace) and not may_use(old, group, service.namespace):
            hands.soon(service, priority=INITIAL)


def _fences(groups: Groups) -> Mapping[str, tuple[object, ...]]:
    """What of each group decides who may use it, and whether somebody may use no other."""
    return {
        name: (group.namespaces, group.namespace_selector, group.enforce_namespaces)
        for name, group in groups.accepted.items()
    }


def _subnets_changed(state: State, hands: Hands, advertised: frozenset[IPNetwork]) -> None:
    """Other subnets are advertised than before: who waits for one that has come is asked again."""
    came, state.advertised = advertised - state.advertised, advertised
    for subnet in state.waiting.subnets() if came else ():
        if is_active(subnet, came):
            for service in state.waiting.wake(SubnetActive(subnet)):
                hands.soon(service, priority=INITIAL)


def node_changed(state: State, hands: Hands, name: str | None, now: float) -> Pieces[None]:
    """The Node, its lease or its report changed; None: only time has passed."""
    stores, changed, unlisted = state.stores, frozenset[Address](), state.announcements.cut_off
    if name is not None:
        lease = stores.leases.get(f"{state.config.install_namespace}/{leases.node_lease(name)}")
        state.liveness.saw(name, lease, now, wall=hands.wall)
        report = stores.reports.get(f"{state.config.install_namespace}/{name}")
        node = stores.nodes.get(name)
        known = state.nodes_seen.get(name)
        if known is None or known[0] is not node or known[1] is not report:  # a renewed lease alone says nothing new
            state.nodes_seen[name] = (node, report)
            wake(state, hands, reservations.of_node(state.ledger, name, node, report))
            told = report.status if report is not None else None
            changed = yield from state.announcements.reported(name, told, now)
            if _config(report) != _config(known[1] if known is not None else None):
                hands.soon(AgentsDue(), priority=INITIAL)
            if node is None and report is None:
                del state.nodes_seen[name]
    answered_at = hands.answered_at()
    before, alive = state.announcements.advertised, state.liveness.alive(now, answered_at=answered_at)
    unsure, unsure_before = state.liveness.unsure(now, answered_at=answered_at), state.announcements.unsure
    changed |= yield from state.announcements.lives(alive, now, unsure=unsure)
    if unlisted or state.announcements.cut_off:
        changed |= yield from _unlisted_changed(state, before=unlisted, now=now)
    if alive.keys() != before.keys() or unsure != unsure_before:
        hands.soon(AgentsDue(), priority=INITIAL)
    if alive != before or unsure != unsure_before:
        _subnets_changed(state, hands, frozenset(chain.from_iterable(alive.values())))
        # Why an address is not announced may be another reason now: told soon when it is about a node that came.
        came = any(
            not set(subnets) <= set(before.get(node, ())) or node not in before for node, subnets in alive.items()
        )
        hands.later(LivesChanged(), FOLD_AFTER if came else MISSING_FOR)
    if unsure_before and not unsure:  # only now it can be told which subnets nobody advertises
        lines = (state.waiting.wake(SubnetActive(subnet)) for subnet in state.waiting.subnets())
        yield from ask_all(hands, chain.from_iterable(lines))
    for number, address in enumerate(changed):
        if not number % CHANGES:
            yield
        if address in state.ledger.claims:
            _answered_for(state, hands, address)
            # The first to answer for an address is told at once; what follows may wait for more of it.
            if len(state.announcements.announcers(address)) == 1 or state.announcements.stands(address):
                hands.soon(Reported(address), priority=INITIAL)
            else:
                hands.later(Reported(address), FOLD_AFTER)
    arm(state, hands, now)


def _answered_for(state: State, hands: Hands, address: Address) -> None:
    """Who answers for an address now has clients soon: it stays, whatever another host said before."""
    if not state.taken.concerns(address):
        return
    seen, holders = state.announcements, state.ledger.claims[address].holders
    if any(seen.announcers(address, service=str(key)) for key in holders) and state.taken.stays(address):
        wake(state, hands, state.ledger.reserve(on_lan(address), ()))


def lan_expired(state: State, hands: Hands, now: float) -> None:
    """Addresses that were left to other hosts for long enough may be handed out again."""
    for address in state.taken.due(now):
        wake(state, hands, state.ledger.reserve(on_lan(address), ()))
        claim = state.ledger.claims.get(address)
        for service in claim.holders if claim is not None else ():
            hands.soon(service, priority=INITIAL)


def _unlisted_changed(state: State, *, before: str, now: float) -> Pieces[frozenset[Address]]:
    """A report that is cut off counts as having what it does not list, so its coming or going concerns what nobody lists."""
    seen, claims = state.announcements, state.ledger.claims
    found: set[Address] = set()
    if before != seen.cut_off:
        for number, address in enumerate(claims):
            if not number % CHANGES:
                yield
            if home_of(address, ledger=state.ledger, groups=state.groups).kind != LOCAL:
                found.add(address)
    else:  # another node counts as having it still, unless that one withholds it
        found.update(a for a in seen.withheld() if a in claims)
    yield from seen.look_again(found, now)
    return frozenset(found)


def _config(report: LBNodeStatus | None) -> ConfigReport | None:
    return report.status.config if report is not None and report.status is not None else None


def recount(state: State, now: float) -> Pieces[None]:
    """Once a minute, one group. A difference is a mistake of ours: a restart rebuilds the truth. Raises Fatal."""
    if now < state.audit_at:
        return
    state.audit_at = now + AUDIT_EVERY
    names = sorted(state.groups.accepted)
    state.audited = next((name for name in names if name > state.audited), names[0] if names else "")
    wrong = yield from audit.recounting(state.ledger, only=state.audited)
    if wrong:
        raise Fatal("the ledger does not agree with itself: " + "; ".join(wrong[:5]))


def arm(state: State, hands: Hands, now: float) -> None:
    """Keep the one timer of the core. A node that seems dead is not left waiting for the next routine renewal of our lease."""
    answered_at = hands.answered_at()
    if state.liveness.doubted(now, answered_at=answered_at):
        hands.ask_whether_it_answers()
    ends = (
        state.ledger.quarantine.deadline(),
        state.taken.deadline(),
        state.liveness.deadline(now, answered_at=answered_at),
        state.audit_at,
    )
    due = min((end for end in ends if end is not None), default=None)
    if due is not None:
        hands.later(Deadline(), max(0.01, due - now))
