# SPDX-License-Identifier: Apache-2.0
"""What a decision looks like from outside: gauges, counters, the log line of a refusal, and what people should be warned of."""

import logging
from collections.abc import Container
from typing import TYPE_CHECKING, Final

from purelb.allocator import metrics
from purelb.allocator.decision import Settle
from purelb.allocator.desired import Outlook, outlook
from purelb.allocator.keys import ServiceKey
from purelb.allocator.occasions import Occasion, occasion
from purelb.allocator.refusals import ip_list
from purelb.allocator.state import Hands, State
from purelb.allocator.wish import rough_wish
from purelb.api import annotations as words
from purelb.api import events as rules
from purelb.api import reasons
from purelb.api.messages import shown
from purelb.kube.model import Service

if TYPE_CHECKING:
    from purelb.allocator.tally import Kind

log: Final = logging.getLogger(__name__)


def count(
    state: State,
    hands: Hands,
    key: ServiceKey,
    settle: Settle,
    seen: Outlook,
    now: float,
) -> None:
    """Where the Service stands now; a refusal is told once per change of answer."""
    desired, concerned = seen.desired, seen.concerned
    refusal, told = settle.refusal, desired.announced
    kind: Kind = "allocated"
    if refusal is not None:
        kind = "partial" if settle.partial else "pending"
    if not desired.addresses:
        state.tally.seen(key, now)
    if seen.quiet:
        return
    trouble = told is not None and (not told.status or told.reason == reasons.ANNOUNCED_TWICE)
    unannounced = told.reason if told is not None and trouble and desired.addresses else ""
    reason = refusal.reason if refusal is not None else ""
    if (since := state.tally.unwritten_since(key, now)) is not None:  # no condition can say so
        state.tally.stands(key, "pending", reasons.PUBLISH_REFUSED, since, unannounced=unannounced, concerned=concerned)
        return
    new = state.tally.stands(key, kind, reason, now, unannounced=unannounced, concerned=concerned)
    if new and refusal is not None:
        hands.sink.count(metrics.REJECTED, refusal.group, reason)
        elsewhere = state.groups.elsewhere.get(refusal.group)
        hands.sink.count(metrics.ALLOCATIONS, elsewhere.source if elsewhere is not None else "local", "refused")
        held = ip_list(desired.addresses) or None
        fields = {"code": "addressRefused", "service": str(key), "reason": reason, "ips": held}
        log.info("%s: %s", key, refusal.text, extra=fields)


def count_leaving(state: State, hands: Hands, key: ServiceKey, service: Service, now: float) -> float | None:
    """A Service that is being deleted and has its addresses still: it wants nothing more, whatever it was told before.

    So a leader that saw it become so counts it as one that found it so. Answers when to count again although nothing changed.
    """
    nothing_more = Settle(None, None, rough_wish(service), "")
    seen = outlook(
        service, nothing_more, ledger=state.ledger, groups=state.groups, announcements=state.announcements, now=now
    )
    state.tally.written(key)
    count(state, hands, key, nothing_more, seen, now)
    return seen.due


def warnings(settle: Settle, elsewhere: Container[str] = ()) -> list[Occasion]:
    """What a Service that gets an address should know about the way it asked for it.

    `elsewhere`: the groups whose source is asked for requested addresses; to name one of them has an effect.
    """
    wish = settle.wish
    texts: list[tuple[str, str]] = []
    if settle.planned is not None and settle.planned.warning:
        texts.append((rules.CONFIGURATION_WARNING, settle.planned.warning))
    if wish.addresses and wish.group is not None and wish.group not in elsewhere:
        text = f"{words.ADDRESSES} decides: {words.SERVICE_GROUP} {shown(wish.group)} has no effect"
        texts.append((rules.CONFIGURATION_WARNING, text))
    if wish.deprecated:
        text = f"{words.LOAD_BALANCER_IP} is deprecated: use the annotation {words.ADDRESSES}"
        texts.append((rules.DEPRECATION_WARNING, text))
    found = (occasion(reason, text) for reason, text in texts)
    return [each for each in found if each is not None]
