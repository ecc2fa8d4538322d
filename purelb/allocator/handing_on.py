# SPDX-License-Identifier: Apache-2.0
"""Who is asked next, after somebody was asked who was woken because something became free.

One release wakes the oldest waiter. When that one was served and something is left, or has another trouble by now, the oldest of those who
still wait is woken. When it goes on waiting for the same although there is room, it asks for more at once than there is (several addresses
against a quota), and the one behind it is woken. So nothing stays free that somebody waits for, and a release costs few decisions.
"""

from purelb.allocator.keys import ServiceKey
from purelb.allocator.state import Hands, State
from purelb.allocator.waits import EntryHasRoom, PoolHasRoom, QuotaHasRoom, Wait
from purelb.kube.queue import INITIAL


def hand_on(state: State, hands: Hands, key: ServiceKey) -> None:
    """A Service was asked: what it was woken for and left is offered to the next one."""
    waiting = state.waiting
    for wait in waiting.woken_for(key):
        room, stays = _has_room(state, wait), waiting.waits_for(key, wait)
        if stays:
            woken = waiting.wake_next(wait, key) if room else ()
        else:  # refused for another reason: what it was woken for is still there
            woken = waiting.wake(wait) if room or key in waiting else ()
        for service in woken:
            hands.soon(service, priority=INITIAL)


def _has_room(state: State, wait: Wait) -> bool:
    match wait:
        case PoolHasRoom(group=group, family=family):
            return state.ledger.pools.has_free(group, family)
        case EntryHasRoom(entry=entry):
            return state.ledger.pools.is_free_in(entry)
        case QuotaHasRoom(group=group, namespace=namespace, family=family):
            accepted = state.groups.accepted.get(group)
            limit = accepted.quota_per_namespace if accepted is not None else None
            return limit is None or state.ledger.index.used_by_namespace(group, namespace, family) < limit
        case _:
            return True
