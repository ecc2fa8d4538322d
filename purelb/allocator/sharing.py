# SPDX-License-Identifier: Apache-2.0
"""Whether two Services may use one address.

They may when both have the same sharing key, no (protocol, port) in common and, as soon as one of them has an effective
traffic policy Local, the same Pods behind them in one namespace: under Local a node answers only if it has a Pod, and it
cannot answer for one sharer and stay silent for the other.
"""

from typing import Literal

from msgspec import Struct

Clash = Literal["InUse", "SharingKeyMismatch", "SharingPortClash", "SharingPolicyMismatch"]
Port = tuple[str, int]


class Facts(Struct, frozen=True, gc=False):
    """What decides about sharing. `local`: the effective externalTrafficPolicy is Local."""

    key: str | None
    ports: frozenset[Port]
    namespace: str
    selector: tuple[tuple[str, str], ...]
    local: bool = False


def clash(one: Facts, other: Facts) -> Clash | None:
    """Why the two may not share an address, None when they may. Symmetric; the first reason in the documented order."""
    if one.key is None or other.key is None:
        return "InUse"
    if one.key != other.key:
        return "SharingKeyMismatch"
    if not one.ports.isdisjoint(other.ports):
        return "SharingPortClash"
    if (one.local or other.local) and (one.namespace != other.namespace or one.selector != other.selector):
        return "SharingPolicyMismatch"
    return None


def ports_in_common(one: Facts, other: Facts) -> tuple[Port, ...]:
    """The (protocol, port) pairs of both, sorted."""
    return tuple(sorted(one.ports & other.ports))
