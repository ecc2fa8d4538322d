# SPDX-License-Identifier: Apache-2.0
"""Groups were edited, or a namespace was labelled: who is attributed anew, and whom it concerns.

Groups are read all at once and swapped in one assignment. Nothing is taken from anybody: claims are attributed anew, and only
Services of which something visible changes are looked at again. What costs more with every address is done in pieces.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final

from purelb.allocator.attribution import origin_of
from purelb.allocator.claims import Claim
from purelb.allocator.deadlines import arm
from purelb.allocator.groups import Groups, Standing
from purelb.allocator.keys import ServiceKey, StatusDue
from purelb.allocator.ranges import Address
from purelb.allocator.state import Hands, State
from purelb.allocator.waits import AddressChanges
from purelb.api.groups import Group
from purelb.api.pieces import CHANGES, LOOKS, Pieces
from purelb.kube.queue import INITIAL

log: Final = logging.getLogger(__name__)


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
        if known != standing:
            log_standing(standing)
        if known != standing or old.stored.get(place) != new.stored.get(place):
            hands.soon(StatusDue(*place), priority=INITIAL)
    for namespace, name in old.standings.keys() - new.standings.keys():
        fields = {"code": "groupGone", "group": name, "namespace": namespace}
        log.info("ServiceGroup %s is gone: who has addresses of it keeps them", name, extra=fields)
    arm(state, hands, now)


def log_standing(standing: Standing) -> None:
    """What became of a group, for the log."""
    fields = {
        "code": "groupRead",
        "group": standing.name,
        "reason": standing.reason,
        "namespace": standing.namespace,
    }
    log.info("ServiceGroup %s: %s: %s", standing.name, standing.reason, standing.text, extra=fields)


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


def _admits(group: Group | None) -> tuple[object, ...] | None:
    """What of a group decides whom it serves, and after which others: if that changed, it may serve who waits elsewhere."""
    if group is None:
        return None
    chosen = (group.auto_assign, group.namespace_default, group.priority, group.service_selector)
    serves = (group.namespaces, group.namespace_selector, group.enforce_namespaces)
    return (*chosen, *serves, group.source, group.drain, group.deleted, group.quota_per_namespace, group.multi_pool)


def _looks_differ(old: Groups, new: Groups) -> bool:
    """Whether an address may look different although the same group holds it."""
    both = old.accepted.keys() & new.accepted.keys()
    return old.refused.keys() != new.refused.keys() or any(
        _style(old.accepted[name]) != _style(new.accepted[name]) for name in both
    )


def _style(group: Group) -> tuple[object, ...]:
    return (group.name, group.announce, group.skip_ipv6_dad, group.off_subnet)


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
    if _fences(old) == _fences(new) and old.fenced == new.fenced:
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
