# SPDX-License-Identifier: Apache-2.0
"""From what a Service keeps to all that it wants: which families and entries are missing, and which group gives them.

What is missing comes from the group of what is there; who has nothing asks the candidates in turn. All addresses of one automatic
allocation come from one group: the first that can serve every wanted family, or under PreferDualStack the first that can serve any.
Whether anything has to be left behind was decided before (`planning.py`); nothing here takes an address away but the second one of a
family whose user no longer asks for two.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator import multipool
from purelb.allocator import refusals as because
from purelb.allocator.borrowing import borrow
from purelb.allocator.multipool import Filled
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.serving import Asker
from purelb.api.groups import Group
from purelb.net.ranges import Family


class Given(Struct, frozen=True, gc=False):
    """What a Service is to hold, in the order of the ingress, and why not more. `partial`: its policy allows that."""

    addresses: tuple[Address, ...]
    shortfall: Refusal | None = None
    partial: bool = False
    warning: str = ""
    missing: tuple[str, ...] = ()
    several: str = ""


def complete(asker: Asker, kept: tuple[Address, ...], *, changed: bool) -> Given | Refusal:
    """What is kept, plus what is missing; without what is not wanted."""
    wish = asker.wish
    wanted = wish.families[:1] if wish.policy == "SingleStack" else wish.families
    asked = wish.addresses if changed else _not_in_vain(wish.addresses, tuple([a for a in kept if a[0] in wanted]))
    pinned = {address[0] for address in asked}
    have: dict[Family, tuple[Address, ...]] = {}
    for family in wanted:
        requested, held = tuple([a for a in asked if a[0] == family]), tuple([a for a in kept if a[0] == family])
        if found := requested if changed and requested else _beside(requested, held):
            have[family] = found
    several = _several(asker, asked or _ordered(wanted, have))
    if isinstance(several, Refusal):
        return several
    if changed and not several.wanted:
        have = {family: found if family in pinned else found[:1] for family, found in have.items()}
    for at, address in enumerate(asked):
        others = (*asked[:at], *(a for a in asked[at + 1 :] if a in kept))
        if address not in kept and (refusal := asker.request(address, wanted, taken=others)) is not None:
            return refusal
        if address[0] not in wanted:
            return because.family_mismatch(address, wanted)
    present = _ordered(wanted, have)
    lacking = tuple([f for f in wanted if f not in (pinned if several.group is not None else have)])
    if not lacking:
        return Given(present, several=several.denied)
    home = several.group or asker.home(asked or present)
    if isinstance(home, Refusal):
        return Given(present, home, partial=wish.policy == "PreferDualStack")
    if home is not None and (denied := asker.denial(home)) is not None:  # what it has it keeps, and gets no more there
        return Given(present, denied, partial=wish.policy == "PreferDualStack", several=several.denied)
    served = _from_one(asker, home, lacking, have) if home is not None else _from_some(asker, lacking)
    if isinstance(served, Refusal):
        return served if not present else Given(present, served, partial=wish.policy == "PreferDualStack")
    given = _with(asker, served, wanted, have)
    if home is not None or not present or isinstance(given, Refusal) or not given.several or given.addresses == present:
        return given
    # What it had is of no group any more, so the one that gave the rest is its group from now on: also for what it had.
    again = complete(asker, given.addresses, changed=changed)
    return again if isinstance(again, Refusal) else replace(again, warning=given.warning)


def _not_in_vain(asked: tuple[Address, ...], kept: tuple[Address, ...]) -> tuple[Address, ...]:
    """What is asked for where nothing is held yet, or beside some of it that is.

    Who holds something else in a family had it when the wish was recorded (taken over from PureLB (Go), which hears no edits): it stays.
    """
    if not asked or kept == asked:
        return asked
    other = {address[0] for address in kept} - {address[0] for address in kept if address in asked}
    return tuple(address for address in asked if address[0] not in other)


def _beside(requested: tuple[Address, ...], held: tuple[Address, ...]) -> tuple[Address, ...]:
    """Both, in the order of the request as soon as that adds something."""
    return held if set(requested) <= set(held) else tuple(dict.fromkeys((*requested, *held)))


class _Served(Struct, frozen=True, gc=False):
    """What one group answered, by family. `shortfall`: why it does not serve each of them."""

    group: Group
    answer: dict[Family, Filled | Refusal]
    shortfall: Refusal | None = None
    warning: str = ""


def _with(
    asker: Asker, served: _Served, wanted: tuple[Family, ...], have: dict[Family, tuple[Address, ...]]
) -> Given | Refusal:
    """What is there together with what a group gave."""
    present, shortfall = _ordered(wanted, have), served.shortfall
    filled = {family: found for family, found in served.answer.items() if isinstance(found, Filled)}
    everything = _ordered(wanted, have | {family: found.addresses for family, found in filled.items()})
    name = served.group.name if asker.wants_several(served.group) else ""
    entries = tuple(found.shortfall for found in filled.values() if found.shortfall is not None)
    missing = tuple(text for found in filled.values() for text in found.missing)
    if shortfall is not None and not (asker.wish.policy == "PreferDualStack" and everything):
        return Given(present, shortfall, several=name) if present else shortfall
    refused = (*((shortfall,) if shortfall is not None else ()), *entries)
    why = because.every_family(refused, one_will_do=False) if refused else None
    return Given(everything, why, why is not None, served.warning, missing, name)


class _Several(Struct, frozen=True, gc=False):
    """Whether one address per entry is wanted, and the group from which entries that lack one are to be filled.

    `denied`: the name of the group that would fill them if the Service's namespace might use it.
    """

    wanted: bool = False
    group: Group | None = None
    denied: str = ""


def _several(asker: Asker, addresses: tuple[Address, ...]) -> _Several | Refusal:
    """For a Service that has addresses. What it has it keeps; a combination its own user asks for is refused all the same."""
    if not addresses or not asker.may_want_several:
        return _Several()
    home = asker.home(addresses)
    if not isinstance(home, Group):
        return _Several(bool(asker.wish.multi_pool))
    if not asker.wants_several(home):
        return _Several()
    refusal = multipool.refused(home, asker.wish.sharing_key)
    if refusal is not None and asker.wish.multi_pool:
        return because.in_group(refusal, home.name)
    if refusal is not None:
        return _Several(wanted=True)
    return _Several(True, denied=home.name) if asker.denial(home) is not None else _Several(True, home)


def _from_some(asker: Asker, missing: tuple[Family, ...]) -> _Served | Refusal:
    """The first candidate that can serve everything; under PreferDualStack, else the first that can serve anything."""
    candidates = asker.candidates()
    if isinstance(candidates, Refusal):
        return candidates
    tried: list[tuple[_Served, Refusal]] = []
    untried = candidates.untried
    for group in candidates.groups:
        served = _from_one(asker, group, missing, {}, warning=candidates.warning)
        if served.shortfall is None:
            return served
        if served.shortfall.ask is not None or asker.loans.is_starting(group.name):
            return served  # whether the next one is to be tried is known when it has answered
        tried.append((served, served.shortfall))
        if asker.is_bound(group, missing):
            untried = ()
            break  # a bound key that cannot be joined does not send its Service to another pool
    if asker.wish.policy == "PreferDualStack":
        for served, _ in tried:
            if any(isinstance(found, Filled) for found in served.answer.values()):
                return served
    refusal = because.every_group([(served.group.name, refusal) for served, refusal in tried])
    return because.besides(refusal, untried) if untried else refusal


def _from_one(
    asker: Asker,
    group: Group,
    families: tuple[Family, ...],
    have: Mapping[Family, tuple[Address, ...]],
    *,
    warning: str = "",
) -> _Served:
    if group.source == "cluster":
        answer = {family: asker.serve(group, family, held=have.get(family, ())) for family in families}
    else:
        answer = borrow(asker, group, families)
    refused = [found for found in answer.values() if isinstance(found, Refusal)]
    one_will_do = asker.wish.policy == "PreferDualStack"
    return _Served(group, answer, because.every_family(refused, one_will_do=one_will_do) if refused else None, warning)


def _ordered(wanted: tuple[Family, ...], have: dict[Family, tuple[Address, ...]]) -> tuple[Address, ...]:
    return tuple([address for family in wanted for address in have.get(family, ())])
