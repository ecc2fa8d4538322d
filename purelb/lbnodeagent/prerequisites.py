# SPDX-License-Identifier: Apache-2.0
"""What the host should be set to for addresses to work, and is not: told, never changed.

Most calls for help about load balancers are one of these. The text goes into the report behind the configuration's own, so
`kubectl get lbnodestatus` shows it. Settings of an interface count together with those of `all`, as the kernel counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from purelb.lbnodeagent.host import ALIAS
from purelb.lbnodeagent.links import IPVS_INTERFACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from purelb.lbnodeagent.claims import Claim
    from purelb.lbnodeagent.host import Interface
    from purelb.lbnodeagent.links import Layout

Setting = Callable[[str], int | None]
"""Reads a setting below /proc/sys/net, such as `ipv4/ip_forward`; None when there is none."""


def unmet(
    layout: Layout, interfaces: Iterable[Interface], claims: Iterable[Claim], *, setting: Setting
) -> tuple[str, ...]:
    """One sentence for each thing that is not as it should be, in a fixed order, each once."""
    return tuple(dict.fromkeys(_unmet(layout, {item.name for item in interfaces}, list(claims), setting)))


def _unmet(layout: Layout, names: set[str], claims: list[Claim], setting: Setting) -> Iterator[str]:
    links = [link.interface.name for link in layout.links]
    local = [claim.ip for claim in claims if claim.announce == "local" and layout.place(claim.ip) is not None]
    remote_inside = any(claim.announce == "remote" and layout.place(claim.ip) is not None for claim in claims)
    for name in links:
        loose = _counted(setting, name, "arp_ignore") < 1 or _counted(setting, name, "arp_announce") != 2
        if loose and IPVS_INTERFACE in names:
            yield "strictARP is off: every node answers for every VIP"
        elif loose and (layout.shared or remote_inside):
            yield f"arp_ignore is 0 on {name}"
        if len(links) > 1 and _counted(setting, name, "rp_filter") == 1:
            yield f"rp_filter is strict on {name}"
    dummy = layout.dummy
    if dummy is not None and not dummy.up:
        yield f"{dummy.name} is down"
    if dummy is not None and dummy.alias != ALIAS and not dummy.promotes:
        yield f"promote_secondaries is 0 on {dummy.name}"
    for ip in local:
        link = layout.place(ip)
        if ip.version == 6 and link is not None and setting(f"ipv6/conf/{link.interface.name}/disable_ipv6"):
            yield f"IPv6 is disabled on {link.interface.name}"
    forwarding = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    if any(setting(forwarding[version]) == 0 for version in sorted({ip.version for ip in local})):
        yield "forwarding is off"


def _counted(setting: Setting, name: str, what: str) -> int:
    return max(setting(f"ipv4/conf/all/{what}") or 0, setting(f"ipv4/conf/{name}/{what}") or 0)
