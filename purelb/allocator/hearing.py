# SPDX-License-Identifier: Apache-2.0
"""What is heard of the nodes: a Node, its lease or its report changed, or it is time to look who still lives.

Addresses of which something changed are told: the first to answer for one at once, what follows a moment later, for there may be more of it.
Whoever waits for a subnet is asked again when a node comes that advertises it. A full report concerns thousands of addresses, so it
is taken in in pieces.
"""

from itertools import chain
from typing import Final

from purelb.allocator import reservations
from purelb.allocator.announcements import MISSING_FOR
from purelb.allocator.atlas import EntryId
from purelb.allocator.attribution import home_of
from purelb.allocator.configuring import ask_all
from purelb.allocator.deadlines import arm
from purelb.allocator.keys import AgentsDue, LivesChanged, Reported
from purelb.allocator.landing import wake
from purelb.allocator.multipool import is_active
from purelb.allocator.ranges import Address
from purelb.allocator.state import Hands, State
from purelb.allocator.taken import on_lan
from purelb.allocator.waits import SubnetActive
from purelb.api import leases
from purelb.api.kinds import ConfigReport, LBNodeStatus
from purelb.api.pieces import CHANGES, Pieces
from purelb.kube.queue import INITIAL
from purelb.net.ranges import IPNetwork

FOLD_AFTER: Final = 0.2


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
        yield from _subnets_changed(state, hands, frozenset(chain.from_iterable(alive.values())))
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


def _subnets_changed(state: State, hands: Hands, advertised: frozenset[IPNetwork]) -> Pieces[None]:
    """Other subnets are advertised than before: who waits for one that has come is asked again.

    So is who waits for room in an entry whose subnet nobody advertises any more: that is why, now.
    """
    came, gone, state.advertised = advertised - state.advertised, state.advertised - advertised, advertised
    for subnet in state.waiting.subnets() if came else ():
        if is_active(subnet, came):
            yield from ask_all(hands, state.waiting.wake(SubnetActive(subnet)))

    def went_dark(entry: EntryId) -> bool:
        subnet = state.groups.subnet_of(entry)
        return subnet is not None and is_active(subnet, gone) and not is_active(subnet, advertised)

    if gone:
        yield from ask_all(hands, tuple(state.waiting.for_entries(went_dark)))


def _answered_for(state: State, hands: Hands, address: Address) -> None:
    """Who answers for an address now has clients soon: it stays, whatever another host said before."""
    if not state.taken.concerns(address):
        return
    seen, holders = state.announcements, state.ledger.claims[address].holders
    if any(seen.announcers(address, service=str(key)) for key in holders) and state.taken.stays(address):
        wake(state, hands, state.ledger.reserve(on_lan(address), ()))


def _unlisted_changed(state: State, *, before: str, now: float) -> Pieces[frozenset[Address]]:
    """A report that is cut off counts as having what it does not list, so its coming or going concerns what nobody lists."""
    seen, claims = state.announcements, state.ledger.claims
    found: set[Address] = set()
    if before != seen.cut_off:
        for number, address in enumerate(claims):
            if not number % CHANGES:
                yield
            home = home_of(address, ledger=state.ledger, groups=state.groups)
            if home.off_subnet or not home.is_local:
                found.add(address)
    else:  # another node counts as having it still, unless that one withholds it
        found.update(a for a in seen.withheld() if a in claims)
    yield from seen.look_again(found, now)
    return frozenset(found)


def _config(report: LBNodeStatus | None) -> ConfigReport | None:
    return report.status.config if report is not None and report.status is not None else None
