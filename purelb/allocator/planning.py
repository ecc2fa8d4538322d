# SPDX-License-Identifier: Apache-2.0
"""What a Service shall hold: wish, ledger and groups in, a `Planned` or a `Refusal` out. Reads everything, changes nothing.

A live address moves only because its own user asked. So planning starts from what is held: what the Service may keep, what it
loses by its own change, what is missing. Only what is missing is looked for, and only where the spec says. A refused change
keeps what is held. Editing groups, restarting or upgrading never comes here with a different wish, so it moves nothing.

Families follow `ipFamilyPolicy`: exactly the first, all or none, or whatever can be served. All addresses of one automatic
allocation come from one group. Which group is asked next is `groups.py`; whether it can serve is `serving.py`.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator import refusals as because
from purelb.allocator.attribution import home_of, kinds_of, origin_of
from purelb.allocator.claims import Origin, Plan
from purelb.allocator.completing import Given, complete
from purelb.allocator.groups import Groups
from purelb.allocator.keeping import Mine, mine_of
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.serving import Asker, Rules, effective_local
from purelb.allocator.sources.loans import Loans
from purelb.allocator.wish import Wish
from purelb.net.ranges import IPNetwork


class Planned(Struct, frozen=True, gc=False):
    """A plan. `partial`: its shortfall is one the policy allows. `warning`: the choice of group was ambiguous.

    `agreed`: the wish of now is the one under which the addresses are held; a refused change leaves the recorded one.
    `several`: the group of which one address per entry is wanted; `missing` are the subnets of the entries that lack one.
    """

    plan: Plan
    partial: bool = False
    warning: str = ""
    agreed: bool = True
    missing: tuple[str, ...] = ()
    several: str = ""


def plan(
    wish: Wish,
    *,
    recorded: str | None,
    ledger: Ledger,
    groups: Groups,
    rules: Rules,
    advertised: Collection[IPNetwork] = (),
    loans: Loans | None = None,
    evaluated: bool = False,
) -> Planned | Refusal:
    """What the Service shall hold now. A `Refusal` means: it holds nothing and gets nothing; the ledger stays as it is.

    `recorded` is the wish under which the held addresses were agreed, None when nobody recorded one. `advertised` are the
    subnets of the living nodes, `loans` what sources gave and said. `evaluated`: what it was asked to re-evaluate it has, once.
    """
    re_evaluate = wish.re_evaluate and not evaluated
    asker = Asker(wish, ledger=ledger, groups=groups, rules=rules, advertised=advertised, loans=loans)
    mine = mine_of(wish, ledger=ledger, groups=groups, rules=rules)
    if re_evaluate:
        mine = _re_evaluated(mine, asker)
    if recorded is None and wish.service in ledger.records and not ledger.published(wish.service):
        recorded = (
            ledger.records[wish.service].wish or None
        )  # nobody has seen what it holds, so nobody has agreed to it
        if recorded not in {None, wish.text} and not _satisfied(wish, mine.kept, ledger, groups):
            mine = Mine()
    changed = recorded is not None and recorded != wish.text
    if mine.kept and changed and not _satisfied(wish, mine.kept, ledger, groups):
        answer = complete(asker, _still_wanted(wish, mine.kept, ledger, groups), changed=True)
        if isinstance(answer, Refusal):
            staying = {*mine.kept, *mine.movable}
            held = tuple(a for a in ledger.standing(wish.service, wish.asked) if a in staying)
            kept = _planned(wish, Given(held, answer), mine, ledger=ledger, groups=groups, rules=rules, loans=loans)
            return kept if isinstance(kept, Refusal) else replace(kept, agreed=False)
        return _planned(
            wish,
            _with_contest(answer, mine.staying(answer.addresses)),
            mine,
            ledger=ledger,
            groups=groups,
            rules=rules,
            loans=loans,
        )
    answer = complete(asker, mine.kept, changed=changed or re_evaluate)
    agreed = True
    if mine.movable:
        agreed = not changed or isinstance(answer, Given)  # who stays for want of another has not got what it asks for
        answer = _move_or_stay(answer, mine)
        if isinstance(answer, Given) and not set(mine.movable) <= set(answer.addresses):
            mine = mine.staying(answer.addresses)
    if isinstance(answer, Refusal):
        answer, agreed = Given(mine.kept, answer), not changed
    elif answer.shortfall is None or not mine.movable:  # else it says so already
        answer = _with_contest(answer, mine)
    made = _planned(wish, answer, mine, ledger=ledger, groups=groups, rules=rules, loans=loans)
    return made if agreed or isinstance(made, Refusal) else replace(made, agreed=False)


def keep(
    wish: Wish,
    refusal: Refusal | None,
    *,
    ledger: Ledger,
    groups: Groups,
    rules: Rules,
    standing: tuple[Address, ...] | None = None,
) -> Planned | None:
    """What a Service keeps that asks for nothing, or for nothing that could be read; None when it holds nothing.

    Its ports, key and policy of now count, as they will when the next term reads them from its spec: on a port that is
    another holder's it loses the address, and where it may only not share it is contested. `standing`: what it has, if not
    what the ledger says for this wish.
    """
    if wish.service not in ledger.records:
        return None
    if standing is None:
        standing = ledger.standing(wish.service, wish.asked)
    mine = mine_of(wish, ledger=ledger, groups=groups, rules=rules, standing=standing)
    staying = {*mine.kept, *mine.movable}
    if mine.objection is not None and not staying.issuperset(standing):  # why an address is gone
        objection = mine.objection
        refusal = replace(refusal, text=f"{refusal.text}; {objection.text}") if refusal is not None else objection
    given = Given(tuple(address for address in standing if address in staying), refusal)
    kept = _planned(wish, given, mine, ledger=ledger, groups=groups, rules=rules)
    return None if isinstance(kept, Refusal) else replace(kept, agreed=False)


def _planned(
    wish: Wish,
    given: Given,
    mine: Mine,
    *,
    ledger: Ledger,
    groups: Groups,
    rules: Rules,
    loans: Loans | None = None,
) -> Planned | Refusal:
    if not given.addresses and given.shortfall is not None and wish.service not in ledger.records:
        return given.shortfall
    addresses = given.addresses
    if len(addresses) > 1:  # what is kept stands in the order of now as well
        rank = {family: place for place, family in enumerate(wish.families)}
        addresses = tuple(sorted(addresses, key=lambda a: rank.get(a[0], len(rank))))
    origins = dict(_lent(addresses, ledger=ledger, groups=groups, loans=loans)) if groups.elsewhere else {}
    local = wish.local_policy
    if local:
        kinds = kinds_of(addresses, ledger=ledger, groups=groups)
        kinds = tuple(
            kind if address not in origins else origins[address].announce
            for address, kind in zip(addresses, kinds, strict=True)
        )
        local = effective_local(wish, kinds, rules)
    made = Plan(
        service=wish.service,
        uid=wish.uid,
        created=wish.created,
        addresses=addresses,
        facts=wish.facts(local=local),
        wish=wish.text,
        asked=wish.asked,
        contests=tuple([(a, c) for a, c in mine.contests if a in addresses]),
        shortfall=given.shortfall,
        origins=tuple(origins.items()),
    )
    return Planned(made, given.partial, given.warning, missing=given.missing, several=given.several)


def _lent(
    addresses: tuple[Address, ...], *, ledger: Ledger, groups: Groups, loans: Loans | None
) -> Iterator[tuple[Address, Origin]]:
    """The new addresses that a source gave, and what is remembered of its group."""
    for address in addresses if loans is not None and groups.elsewhere else ():
        loan = loans.book.get(address) if loans is not None and address not in ledger.claims else None
        if loan is not None and (group := groups.elsewhere.get(loan.group)) is not None:
            yield address, origin_of(group)


def _re_evaluated(mine: Mine, asker: Asker) -> Mine:
    """What could not be given today is to be left, if there is somewhere to go."""
    fine = tuple(a for a in mine.kept if asker.could_be_given(a))
    unfit = tuple(a for a in mine.kept if a not in fine)
    return Mine(fine, mine.contests, (*mine.movable, *unfit), mine.objections)


def _satisfied(wish: Wish, held: tuple[Address, ...], ledger: Ledger, groups: Groups) -> bool:
    """Whether what is held already is what the new wish asks for."""
    if wish.addresses:
        return set(wish.addresses) <= set(held)
    return wish.group is None or all(home_of(a, ledger=ledger, groups=groups).name == wish.group for a in held)


def _still_wanted(wish: Wish, held: tuple[Address, ...], ledger: Ledger, groups: Groups) -> tuple[Address, ...]:
    """What the new wish does not ask to be moved: who pins one family says nothing of the other, if it was published already."""
    if wish.addresses:
        pinned, seen = {address[0] for address in wish.addresses}, ledger.published(wish.service)
        home = groups.name_at(wish.addresses[0])
        others = (a for a in held if a[0] not in pinned)
        unmoved = {a for a in others if a in seen or home_of(a, ledger=ledger, groups=groups).name == home}
        return tuple(a for a in held if a in wish.addresses or a in unmoved)
    return tuple(a for a in held if wish.group is None or home_of(a, ledger=ledger, groups=groups).name == wish.group)


def _with_contest(answer: Given, mine: Mine) -> Given:
    """What is wrong with what stays comes before what is missing: who is contested has not got what it asks for, whatever its policy."""
    objection, missing = mine.objection if mine.contests else None, answer.shortfall
    if objection is None:
        return answer
    if missing is None:
        return Given(answer.addresses, objection, warning=answer.warning)
    told = replace(objection, text=f"{objection.text}; {missing.text}", ask=missing.ask)
    return replace(answer, shortfall=because.with_waits(told, (*objection.waits, *missing.waits)), partial=False)


def _move_or_stay(answer: Given | Refusal, mine: Mine) -> Given | Refusal:
    """Addresses of its own, or else the ones it should not share any more."""
    refusal = answer if isinstance(answer, Refusal) else answer.shortfall
    if refusal is None:
        return answer
    have = mine.kept if isinstance(answer, Refusal) else answer.addresses
    stuck = tuple(a for a in mine.movable if a[0] not in {h[0] for h in have})
    if not stuck and isinstance(answer, Given):
        return answer  # all of them have moved; what is missing is another family
    staying = (*have, *stuck)
    objection = mine.staying(staying).objection or mine.objection
    if objection is not None:  # say what is wrong, and wait for what would help
        told = replace(objection, text=f"{objection.text}; no other address: {refusal.text}")
        refusal = replace(because.with_waits(told, (*objection.waits, *refusal.waits)), ask=refusal.ask)
    return Given(staying, refusal)
