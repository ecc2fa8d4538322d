# SPDX-License-Identifier: Apache-2.0
"""What time alone brings: addresses that were kept back or left to others for long enough, the recount; and the one timer of the core.

Everything that ends knows when; the timer is set to the first of these moments after each step that may have changed one.
"""

from typing import Final

from purelb.allocator import audit
from purelb.allocator.keys import Deadline
from purelb.allocator.landing import wake
from purelb.allocator.state import Hands, State
from purelb.allocator.taken import on_lan
from purelb.api.pieces import CHANGES, Pieces
from purelb.kube.owner import Fatal
from purelb.kube.queue import INITIAL

AUDIT_EVERY: Final = 60.0


def expired(state: State, hands: Hands, now: float) -> Pieces[None]:
    """What was kept back for long enough may be handed out again."""
    while ended := state.ledger.expire(now, most=CHANGES):
        wake(state, hands, ended)
        yield


def lan_expired(state: State, hands: Hands, now: float) -> None:
    """Addresses that were left to other hosts for long enough may be handed out again."""
    for address in state.taken.due(now):
        wake(state, hands, state.ledger.reserve(on_lan(address), ()))
        claim = state.ledger.claims.get(address)
        for service in claim.holders if claim is not None else ():
            hands.soon(service, priority=INITIAL)


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
