# SPDX-License-Identifier: Apache-2.0
"""Two Services are published with one address and may not share it: who is told, and what the one that waits for it is told later.

It is found when a term begins, or afterwards, when a write of a former leader lands late: the same words in both cases, to the
younger of the two, once. A Service whose status is put back although nobody else has to move is no conflict.

Who lost its address like that and waits for it goes on being told so, by the next term too: its condition says it.
"""

import logging
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from purelb.allocator.decision import Settle
from purelb.allocator.keys import ServiceKey
from purelb.allocator.landing import reference
from purelb.allocator.learning import Conflict, learn_late
from purelb.allocator.observed import condition
from purelb.allocator.occasions import HOUR, occasion
from purelb.allocator.refusals import address_conflict, with_waits
from purelb.allocator.state import Hands, State
from purelb.allocator.waits import AddressChanges, Wait
from purelb.api import reasons
from purelb.kube.model import Service

log: Final = logging.getLogger(__name__)


def found(state: State, hands: Hands, conflict: Conflict, now: float) -> None:
    """A Service cannot have an address that it is published with. The same is told again after an hour at the earliest."""
    key = conflict.service
    state.conflicts[key] = conflict
    if not state.once.new(str(key), reasons.ADDRESS_CONFLICT, conflict.text, now, again_after=HOUR):
        return
    log.info("%s", conflict.text, extra={"code": "addressConflict", "service": str(key)})
    service, told = state.service(key), occasion(reasons.ADDRESS_CONFLICT, conflict.text)
    if service is not None and told is not None:
        hands.tell(reference(service), told)


def found_late(state: State, hands: Hands, service: Service, now: float) -> None:
    """One of ours is published with addresses that the ledger gave to others."""
    late = learn_late(service, ledger=state.ledger, groups=state.groups, rules=state.config.rules)
    for conflict in late.conflicts:
        found(state, hands, conflict, now)
    for other in late.asked_again:
        hands.soon(other)


def explained(state: State, key: ServiceKey, settle: Settle) -> Settle:
    """Who insists on an address that an older Service was found to have is told so, not that it is in use."""
    refusal = settle.refusal
    if refusal is None:
        state.conflicts.pop(key, None)
        return settle
    waits = refusal.waits
    conflict = state.conflicts.get(key) or _told_before(state, key, waits)
    if conflict is None:
        return settle
    claim = state.ledger.claims.get(conflict.address)
    if AddressChanges(conflict.address) not in waits or claim is None or conflict.older not in claim.holders:
        state.conflicts.pop(key, None)
        return settle
    return replace(settle, refusal=with_waits(address_conflict(conflict.address, conflict.older), waits))


def _told_before(state: State, key: ServiceKey, waits: Iterable[Wait]) -> Conflict | None:
    """The conflict that a former term told the Service, if the one it named still has the address it waits for."""
    service = state.service(key)
    told = condition(service, reasons.ALLOCATED) if service is not None else None
    if told is None or told.reason != reasons.ADDRESS_CONFLICT:
        return None
    for address in (wait.address for wait in waits if isinstance(wait, AddressChanges)):
        claim = state.ledger.claims.get(address)
        for other in claim.holders if claim is not None else ():
            found = Conflict(key, address, other)
            if other != key and told.message.startswith(found.text):
                return found
    return None
