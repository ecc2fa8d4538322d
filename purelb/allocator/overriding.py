# SPDX-License-Identifier: Apache-2.0
"""The one write we make to a Service outside its status: externalTrafficPolicy from Local to Cluster, before an address is published.

And what is told where that is not done because its user said so. Nothing in the Service shows that it was told, so it is told when it
begins under our eyes: a term that finds it so is silent.
"""

from typing import Final

from purelb.allocator.attribution import LOCAL, kinds_of
from purelb.allocator.decision import Settle
from purelb.allocator.flights import Flight
from purelb.allocator.keys import ServiceKey
from purelb.allocator.landing import reference
from purelb.allocator.occasions import HOUR, Occasion, occasion
from purelb.allocator.serving import effective_local
from purelb.allocator.state import PRIORITY_ALLOCATE, Hands, State
from purelb.api import annotations as words
from purelb.api import events as rules
from purelb.kube.model import Service
from purelb.kube.resources import SERVICES

_CLUSTER: Final = b'{"spec":{"externalTrafficPolicy":"Cluster"}}'
_KEPT: Final = f"{words.ALLOW_LOCAL} keeps externalTrafficPolicy Local"
_CONTESTED: Final = "somebody sets externalTrafficPolicy Local again and again: it is left for an hour"


def override(state: State, hands: Hands, key: ServiceKey, service: Service, settle: Settle, now: float) -> bool:
    """Set Cluster where Local would leave an address without an answer. Answers whether that write is on its way."""
    wish, record = settle.wish, state.ledger.records.get(key)
    refused = settle.refusal is not None and not settle.partial
    if not wish.local_policy or record is None or not record.addresses or refused:
        return False
    kinds = kinds_of(record.addresses, ledger=state.ledger, groups=state.groups)
    if effective_local(wish, kinds, state.config.rules):
        return False
    if state.overrides.contested(key, now):
        told = occasion(rules.LOCAL_OVERRIDE_CONTESTED, _CONTESTED)
        if told is not None and state.once.new(str(key), told.reason, "", now, again_after=HOUR):
            hands.tell(reference(service), told)
        return False
    rv = service.metadata.resource_version
    hands.write(
        state.flights.depart(Flight("policy", service=key, uid=service.metadata.uid, rv=rv, sent_at=now)),
        SERVICES,
        namespace=key.namespace,
        name=key.name,
        body=_CLUSTER,
        rv=rv,
        subresource=None,
        slot="policy",
        priority=PRIORITY_ALLOCATE,
    )
    return True


def kept(state: State, key: ServiceKey, settle: Settle) -> Occasion | None:
    """What a Service is to be told whose policy stays Local, on a local address, because of its annotation; None where that is not new.

    Who has its address already when it is seen for the first time is not told.
    """
    wish, record = settle.wish, state.ledger.records.get(key)
    addresses = record.addresses if record is not None else ()
    asked = wish.local_policy and wish.allow_local and not state.config.rules.honor_local
    if not asked or LOCAL not in kinds_of(addresses, ledger=state.ledger, groups=state.groups):
        state.keep_local.discard(key)
        return None
    if key in state.keep_local:
        return None
    state.keep_local.add(key)
    first_seen = key not in state.last and set(addresses) <= set(state.ledger.published(key))
    return None if first_seen else occasion(rules.LOCAL_OVERRIDE, _KEPT)
