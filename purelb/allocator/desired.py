# SPDX-License-Identifier: Apache-2.0
"""What a Service of ours should say, from the ledger, the groups and the reports of the nodes. Pure; recomputed at every step.

An address that no group contains keeps the group it was allocated from on paper: agents still need to know how to announce it, and
nothing that was announced goes away because somebody edited a group.
"""

from collections.abc import Sequence

from msgspec import Struct

from purelb.allocator import publish
from purelb.allocator.announcements import Announcements
from purelb.allocator.attribution import home_of
from purelb.allocator.decision import Settle
from purelb.allocator.folding import Wanted, fold
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import branded, condition, published
from purelb.allocator.publish import Desired, Said
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import family_text, is_about_nodes, is_open
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.kube.model import Condition, Service, annotations


class Outlook(Struct, frozen=True, gc=False):
    """What a Service should say, and when to look again although nothing changed. `quiet`: the refusal is not told for now.

    `concerned`: the addresses that are not announced, or by two nodes, if `Announced` says so.
    """

    desired: Desired
    due: float | None
    quiet: bool = False
    concerned: tuple[Address, ...] = ()


def outlook(
    service: Service,
    settle: Settle,
    *,
    ledger: Ledger,
    groups: Groups,
    announcements: Announcements,
    now: float,
    quiet: bool = False,
) -> Outlook:
    """What the Service should say now that the plan is committed. `quiet`: `Allocated` stays as it is for now.

    So it does while it is not known whether a node that may advertise a missing subnet lives. A Service whose addresses are others by
    now is told these, and not yet what is missing.
    """
    record = ledger.records.get(settle.wish.service)
    addresses = record.addresses if record is not None else ()
    noted = annotations(service)
    homes = [home_of(address, ledger=ledger, groups=groups) for address in addresses]
    told = condition(service, reasons.ANNOUNCED)
    wanted = [
        Wanted(a, local=home.is_local, off_subnet=home.off_subnet) for a, home in zip(addresses, homes, strict=True)
    ]
    folded = fold(announcements, wanted, _said(told), service=str(settle.wish.service), noted=noted, now=now)
    unknown = bool(announcements.unsure) and settle.refusal is not None and is_about_nodes(settle.refusal)
    refusal = None if unknown else settle.refusal
    said: Said | None = None
    if quiet or (unknown and addresses == published(service)):
        said = _said(condition(service, reasons.ALLOCATED))
    elif addresses or not unknown:
        said = publish.allocated(
            addresses,
            [home.name for home in homes],
            refusal,
            partial=settle.partial,
            missing=_missing(settle, addresses) if refusal is not None else "",
            excluded_by={a: h.excluded_by for a, h in zip(addresses, homes, strict=True) if h.excluded_by is not None},
        )
    sources, kinds = [home.name or home.origin.group for home in homes], [home.kind for home in homes]
    values: dict[str, str | None] = {
        words.ALLOCATED_BY: words.BRAND if addresses or branded(service) else None,
        words.ALLOCATED_FROM: _joined(sources) if all(sources) else noted.get(words.ALLOCATED_FROM),
        words.POOL_TYPE: _joined(kinds) if all(kinds) else noted.get(words.POOL_TYPE),
        words.SKIP_IPV6_DAD: "true" if any(home.skip_ipv6_dad for home in homes) else None,
        words.ALLOCATED_WISH: settle.wish_text if addresses else None,
        words.ANNOUNCING_IPV4: folded.announcing[4],
        words.ANNOUNCING_IPV6: folded.announcing[6],
    }
    if settle.wish.re_evaluate and not is_open(settle.refusal, unsure=bool(announcements.unsure)):
        values[words.RE_EVALUATE] = None
    # Mostly it is all of them, and then the gauges keep no tuple of their own.
    concerned = addresses if len(folded.concerned) == len(addresses) else folded.concerned
    desired = Desired(addresses, tuple(values.items()), said, folded.said)
    return Outlook(desired, folded.due, quiet or unknown, concerned)


def _joined(values: Sequence[str]) -> str | None:
    return words.print_per_ingress(values) if values else None


def _missing(settle: Settle, addresses: tuple[Address, ...]) -> str:
    have = {address[0] for address in addresses}
    entries = settle.planned.missing if settle.planned is not None else ()
    lacking = (family_text(family) for family in settle.wish.families if family not in have)
    return ", ".join(dict.fromkeys((*lacking, *entries)))


def _said(found: Condition | None) -> Said | None:
    return None if found is None else Said(found.status == "True", found.reason, found.message)
