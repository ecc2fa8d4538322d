# SPDX-License-Identifier: Apache-2.0
"""What a Service is told that asked to have its addresses re-evaluated, and could not be given others.

The annotation goes with the write that answers it, and the refusal with the annotation: what the condition says is what it would say
without. So the refusal is an Event, and with it a line in the log and a count, once the write is applied: until then each decision
finds the same anew. Rejected: the refusal in the condition, which the next decision took back with a second write at once.

Until it is known whether it is one, nothing is told and the annotation stays: while a source is asked, while its Namespace was not
seen, and, where it is about nodes, while nobody knows which of them live.
"""

from msgspec.structs import replace

from purelb.allocator.attribution import home_of
from purelb.allocator.decision import Settle
from purelb.allocator.keys import ServiceKey
from purelb.allocator.occasions import Occasion, occasion
from purelb.allocator.planning import plan
from purelb.allocator.refusals import Refusal, ip_list, is_open
from purelb.allocator.state import State
from purelb.api import annotations as words
from purelb.api.messages import cut


def outcome(state: State, key: ServiceKey, settle: Settle) -> tuple[Settle, tuple[Occasion, ...]]:
    """What to say once the plan is committed, and the Events of it."""
    refusal, unsure = settle.refusal, bool(state.announcements.unsure)
    if not settle.wish.re_evaluate or refusal is None or is_open(refusal, unsure=unsure):
        return settle, ()
    record = state.ledger.records.get(key)
    answer = plan(
        settle.wish,
        recorded=settle.wish_text,
        ledger=state.ledger,
        groups=state.groups,
        rules=state.config.rules,
        advertised=state.advertised,
        loans=state.loans,
        evaluated=True,
    )
    if isinstance(answer, Refusal) or record is None or answer.plan.addresses != record.addresses:
        return settle, ()
    settle = replace(settle, planned=answer, refusal=answer.plan.shortfall)
    if settle.refusal is not None:
        homes = (home_of(address, ledger=state.ledger, groups=state.groups) for address in record.addresses)
        hidden = settle.partial and any(home.name is None for home in homes)  # behind `AddressKept`
        if is_open(settle.refusal, unsure=unsure) or (settle.refusal.reason == refusal.reason and not hidden):
            return settle, ()  # it is told later, or anyway
    ips = ip_list(record.addresses)
    told = occasion(refusal.reason, cut(f"{words.RE_EVALUATE}: {refusal.text}", tail=f"; keeps {ips}"))
    return settle, (replace(told, refused_by=refusal.group),) if told is not None else ()
