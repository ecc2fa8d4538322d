# SPDX-License-Identifier: Apache-2.0
"""What is to be done about one Service, in the order of the specification's table. Pure: answers a value, changes nothing.

The owner carries the answer out: it commits the plan, publishes what follows from it and puts the Service where it waits.
A Service that is not ours and carries no mark of ours is never touched.
"""

from collections.abc import Collection
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator.attribution import kinds_of
from purelb.allocator.claims import Plan
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import (
    Ownership,
    condition,
    entries_of,
    has_class,
    marked,
    no_address,
    published,
    says_we_gave,
)
from purelb.allocator.planning import Planned, keep, plan
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sources.loans import Loans
from purelb.allocator.waits import Wait as WaitFor
from purelb.allocator.wish import Wish, read_wish, rough_wish
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.api.messages import quoted
from purelb.kube.model import Service, annotations
from purelb.net.ranges import IPNetwork

_ANY: Final = words.print_wish(words.AllocatedWish())


class Ignore(Struct, frozen=True, gc=False):
    """Not ours, and nothing in it is ours."""


class Wait(Struct, frozen=True, gc=False):
    """It is being deleted, and nothing about it that matters has changed."""


class Foreign(Struct, frozen=True, gc=False):
    """It has no class, and an address that we did not give and cannot adopt: left alone until `waits` would let us."""

    text: str
    waits: tuple[WaitFor, ...] = ()


class Leave(Struct, frozen=True, gc=False):
    """No longer ours: what we put into it is removed, and what it holds is free once that is confirmed."""

    plan: Plan


class Settle(Struct, frozen=True, gc=False):
    """What it holds, and why not more. `planned` is None when it holds nothing and gets nothing.

    `wish_text` is what to record with the addresses; `adopted`: they were published before we knew them.
    """

    planned: Planned | None
    refusal: Refusal | None
    wish: Wish
    wish_text: str
    adopted: bool = False
    learn: bool = False

    @property
    def partial(self) -> bool:
        """Whether the refusal is one that the family policy allows."""
        return self.planned is not None and self.planned.partial


Decision = Ignore | Wait | Foreign | Leave | Settle


def decide(
    service: Service,
    *,
    ownership: Ownership,
    ledger: Ledger,
    groups: Groups,
    rules: Rules,
    advertised: Collection[IPNetwork] = (),
    loans: Loans | None = None,
    may_adopt: bool = True,
    agreed: str | None = None,
) -> Decision:
    """What is to be done about a Service that exists. The ledger knows nothing of another uid of this name.

    `advertised` are the subnets of the living nodes, `loans` what sources gave and said. `may_adopt` False: what is published and not held was looked at already, and counts as empty. `agreed`: the wish we recorded last, for when a Service
    was replaced as a whole and its annotation is gone.
    """
    key = ServiceKey(service.metadata.namespace, service.metadata.name)
    record = ledger.records.get(key)
    if not ownership.owns(service):
        if record is None and not marked(service):
            return Ignore()
        rough = rough_wish(service)
        return Leave(Plan(key, rough.uid, rough.created, (), rough.facts(local=False)))
    recorded = _recorded(service)
    if recorded is None and ledger.published(key):
        recorded = agreed
    if service.metadata.deletion_timestamp:
        return _terminating(service, recorded, ledger=ledger, groups=groups, rules=rules)
    wish = read_wish(service)
    if may_adopt and record is None and entries_of(service):
        readable = rough_wish(service) if isinstance(wish, Refusal) else wish
        adopted = _adopt(service, readable, given=ownership.given(service), ledger=ledger, groups=groups, rules=rules)
        if adopted is not None:
            return _in_spite_of(wish, adopted) if isinstance(wish, Refusal) else adopted
    if isinstance(wish, Refusal):
        return _unreadable(service, wish, recorded, ledger=ledger, groups=groups, rules=rules)
    if wish.addresses and _is_unheard(service, wish, recorded, ledger.standing(key, wish.asked)):
        recorded = _ANY
    answer = plan(
        wish, recorded=recorded, ledger=ledger, groups=groups, rules=rules, advertised=advertised, loans=loans
    )
    if isinstance(answer, Refusal):
        return Settle(None, answer, wish, recorded or wish.text)
    text = wish.text if answer.agreed or recorded is None else recorded
    return Settle(answer, answer.plan.shortfall, wish, text)


def _recorded(service: Service) -> str | None:
    """The wish under which the held addresses were agreed; edited text counts as not recorded."""
    text = annotations(service).get(words.ALLOCATED_WISH)
    return None if text is None or words.parse_wish(text) is None else text


def _is_unheard(service: Service, wish: Wish, recorded: str | None, held: tuple[Address, ...]) -> bool:
    """Whether it holds what it did not ask for, although its user asked us, and nobody agreed to that.

    Where our condition stands we served it before. So its record was taken away while nobody led, with a manifest that may ask for
    something else; or it was learnt from a status that somebody else wrote, and our condition names something else.
    """
    if not held or set(wish.addresses) <= set(held) or held != published(service):
        return False
    if condition(service, reasons.ALLOCATED) is None:
        return False  # left by PureLB (Go)
    return recorded is None or (recorded == wish.text and not says_we_gave(service))


def _unreadable(
    service: Service, refusal: Refusal, recorded: str | None, *, ledger: Ledger, groups: Groups, rules: Rules
) -> Settle:
    """What it holds it keeps, unless its ports, which can be read, disturb somebody else's live traffic."""
    rough = rough_wish(service)
    kept = keep(rough, refusal, ledger=ledger, groups=groups, rules=rules)
    text = recorded or rough.text
    return Settle(kept, kept.plan.shortfall if kept is not None else refusal, rough, text)


def _in_spite_of(refusal: Refusal, adopted: Settle | Foreign) -> Settle | Foreign:
    """What is published is looked at first: a slip in an annotation takes away no address that somebody uses."""
    if isinstance(adopted, Foreign) or adopted.planned is None:
        return adopted
    plan = replace(adopted.planned.plan, shortfall=refusal)
    return replace(adopted, planned=replace(adopted.planned, plan=plan), refusal=refusal)


def _terminating(
    service: Service, recorded: str | None, *, ledger: Ledger, groups: Groups, rules: Rules
) -> Settle | Wait | Leave:
    """Nothing is given to it and nothing taken, but its ports and its key of now count: the next term reads them from its spec.

    So an edit that disturbs somebody else's live traffic costs it the address now, and not that other one after a restart.
    """
    rough = rough_wish(service)
    record = ledger.records.get(rough.service)
    if record is None:
        return Wait()
    there = {*published(service), *ledger.published(rough.service)}
    seen = tuple(address for address in (*record.addresses, *record.leaving) if address in there)
    if not seen:  # what it was to get was never published: others may have it
        return Leave(Plan(rough.service, rough.uid, rough.created, (), rough.facts(local=False)))
    kinds = kinds_of(record.addresses, ledger=ledger, groups=groups)
    facts = rough.facts(local=effective_local(rough, kinds, rules))
    same = all(ledger.claims[address].holders[rough.service].facts == facts for address in record.addresses)
    if same and seen == record.addresses and not record.leaving:
        return Wait()
    kept = keep(rough, None, ledger=ledger, groups=groups, rules=rules, standing=seen)
    return Wait() if kept is None else Settle(kept, kept.plan.shortfall, rough, recorded or rough.text)


def _adopt(
    service: Service, wish: Wish, *, given: bool, ledger: Ledger, groups: Groups, rules: Rules
) -> Settle | Foreign | None:
    """Take over what is published, if it could be given; None: treat the ingress as empty. `given`: we published it.

    Whether its user is to have something else is for the decision after this one: what re-evaluates stays until then, and so does
    a request of which another controller cannot have heard, by our class or because we answered it already.
    """
    there, strange = published(service), no_address(service)
    if strange is not None and not has_class(service) and not given:
        return Foreign(f"{quoted(strange)} is no address")
    if not there:
        return None
    ours = has_class(service) or condition(service, reasons.ALLOCATED) is not None
    text = _ANY if ours and not set(wish.addresses) <= set(there) else wish.text
    wish = replace(wish, re_evaluate=False)
    asked = replace(wish, addresses=there, group=None, families=tuple(dict.fromkeys(a[0] for a in there)), text=text)
    asked = replace(asked, policy="SingleStack" if len(asked.families) == 1 else "RequireDualStack")
    answer = plan(asked, recorded=None, ledger=ledger, groups=groups, rules=rules)
    if isinstance(answer, Planned) and answer.plan.shortfall is None and answer.plan.addresses:
        return Settle(answer, None, wish, text, adopted=True)
    if given:
        return Settle(None, None, wish, wish.text, learn=True)
    if not has_class(service):
        why = answer if isinstance(answer, Refusal) else answer.plan.shortfall
        return Foreign(why.text, why.waits) if why is not None else Foreign("no address in it can be ours")
    return None
