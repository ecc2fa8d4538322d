# SPDX-License-Identifier: Apache-2.0
"""The owner's turns as a process counts them and its liveness judges them.

A turn awaits no other machine, so one that lasts a minute will not end; a key that raises again and again is a mistake of
ours that only a restart may heal. Both are reasons to be restarted, and the text names the key. A process that waits, for
its lease or for the API server, has no turn and is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purelb.process.metrics import OWNER_TURN, UPDATE_ERRORS, UPDATES

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from purelb.kube.clock import Clock
    from purelb.kube.metrics import Sink
    from purelb.kube.owner import Outcome, Owner


async def counted(turn: Awaitable[Outcome], *, clock: Clock, sink: Sink) -> Outcome:
    """One turn of the owner, counted and timed however it ends."""
    sink.count(UPDATES)
    began = clock.now()
    try:
        return await turn
    except Exception:
        sink.count(UPDATE_ERRORS)
        raise
    finally:
        sink.observe(OWNER_TURN, clock.now() - began)


def trouble(owner: Owner[Any] | None, *, now: float, limit: float) -> str | None:
    """Why this owner must be started anew, None while it need not."""
    if owner is None:
        return None
    if owner.turn is not None and now - owner.turn[1] >= limit:
        key, since = owner.turn
        return f"the turn of {key} has lasted {now - since:.0f} s"
    if owner.panicking:
        return f"steps keep raising for {', '.join(map(str, owner.panicking))}"
    return None


def turn_of(owner: Owner[Any]) -> dict[str, object]:
    """Whose turn it is and since when, and which keys keep raising: for the state of a process."""
    key, since = owner.turn if owner.turn is not None else (None, None)
    return {
        "turn": None if key is None else str(key),
        "turnSince": since,
        "raising": [str(each) for each in owner.panicking],
    }
