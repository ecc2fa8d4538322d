# SPDX-License-Identifier: Apache-2.0
"""What this node says about itself: the `status` of its LBNodeStatus, as one whole value.

Pure: equal states give equal reports, in a fixed order, within the bounds of the schema, so "did anything change" is one
comparison. `since` is for people: it is taken from the report before for whatever is the same, and is the time of writing
for the rest; no decision reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from purelb.lbnodeagent.desired import OnDummy, place
from purelb.net.ranges import BITS, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.lbnodeagent.host import Interface
    from purelb.lbnodeagent.links import LocalLink
    from purelb.lbnodeagent.state import State
    from purelb.net.ranges import IPAddress

ANNOUNCED_MAX: Final = 4096
REMOTE_MAX: Final = 1024
WITHHELD_MAX: Final = 1024
SERVICES_MAX: Final = 64
MESSAGE_MAX: Final = 256
CONFIG_MESSAGE_MAX: Final = 1024

Body = dict[str, Any]


def report(state: State, *, instance: str, version: str, stale: bool, wall: str, before: Mapping[str, Any]) -> Body:
    """The whole `status`. `before` is the last one that was written, or empty."""
    names = {interface.index: interface.name for interface in state.present.interfaces.values()}
    since = _since(before)
    announced = [
        _announced(state, ip, vip.on, names, since, wall)
        for ip, vip in sorted(state.vips.items(), key=lambda item: _place(item[0]))
        if vip.in_kernel and vip.on is not None
    ]
    withheld = _withheld(state, since, wall)
    detection = _failure_state(state, stale=stale)
    old = before.get("failureDetection") or {}
    configuration = state.configuration
    return {
        "instance": instance,
        "version": version,
        "config": {
            "state": configuration.state if configuration else "default",
            "source": configuration.source if configuration else "",
            "message": _message(state)[:CONFIG_MESSAGE_MAX],
        },
        "interfaces": _interfaces(state),
        "announced": announced[:ANNOUNCED_MAX],
        "remote": _remote(state),
        "withheld": withheld[:WITHHELD_MAX],
        "failureDetection": {
            "mode": "lease",
            "state": detection,
            "since": old["since"] if old.get("state") == detection and old.get("since") else wall,
            "peers": max(0, state.segment_size() - 1),
            "heartbeatPeers": 0,
        },
        "announcedCount": len(announced),
        "withheldCount": len(withheld),
    }


def only_remote_differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Such a change may wait longer."""
    return one != other and {**one, "remote": None} == {**other, "remote": None}


def _message(state: State) -> str:
    """The configuration's own text, then what is odd about the interfaces it names."""
    layout = state.layout
    said = [state.configuration.message] if state.configuration and state.configuration.message else []
    said += [f"interface {name} does not exist" for name in layout.missing]
    said += [f"a subnet of {name} is served by another interface" for name in layout.shared]
    if layout.cut:
        said.append(f"{len(layout.cut)} subnets beyond {len(layout.subnets)} are not advertised")
    if not state.returns_tags:
        said.append("this kernel is older than 5.18: tagging addresses by priority")
    if state.settings.local_addresses.valid_s == 0:
        said.append("validLifetime is 0: addresses of an agent that hangs stay")
    return "; ".join([*said, *state.unmet])


def _announced(
    state: State,
    ip: IPAddress,
    ifindex: int,
    names: Mapping[int, str],
    since: Mapping[tuple[str, ...], str],
    wall: str,
) -> Body:
    claim = state.asked.claims.get(ip)
    name = names.get(ifindex, str(ifindex))
    return {
        "ip": str(ip),
        "prefixLength": BITS[family_of(ip)],
        "interface": name,
        "services": list(claim.services[:SERVICES_MAX]) if claim else [],
        "since": since.get(("announced", str(ip), name), wall),
    }


def _withheld(state: State, since: Mapping[tuple[str, ...], str], wall: str) -> list[Body]:
    found = [
        (ip, state.asked.claims[ip].services, why.reason, why.message)
        for ip, why in state.withheld.items()
        if ip in state.asked.claims
    ]
    unfit: dict[IPAddress, list[str]] = {}
    for name, several in state.asked.unfit.items():
        for item in several:
            unfit.setdefault(item.ip, []).append(name)
    found += [
        (ip, tuple(sorted(services)), "AnnouncementFailed", f"{ip} cannot be announced")
        for ip, services in unfit.items()
    ]
    return [
        {
            "ip": str(ip),
            "services": list(services[:SERVICES_MAX]),
            "reason": reason,
            "message": message[:MESSAGE_MAX],
            "since": since.get(("withheld", str(ip), reason), wall),
        }
        for ip, services, reason, message in sorted(found, key=lambda item: _place(item[0]))
    ]


def _interfaces(state: State) -> list[Body]:
    found = [_link(link) for link in state.layout.links[:63]]
    if state.layout.dummy is not None:
        found.append(_interface(state.layout.dummy, "dummy"))
    return found


def _link(link: LocalLink) -> Body:
    return {
        **_interface(link.interface, link.role),
        "subnets": [str(network) for network in link.networks[:32]],
        "addresses": [str(ip) for ip in link.addresses[:64]],
        "gateways": [str(ip) for ip in link.gateways[:8]],
    }


def _interface(interface: Interface, role: str) -> Body:
    return {
        "name": interface.name,
        "role": role,
        "up": interface.up and interface.carrier,
        "mac": interface.mac.hex(":"),
        "subnets": [],
        "addresses": [],
        "gateways": [],
    }


def _remote(state: State) -> Body:
    dummy = state.layout.dummy
    carried = [] if dummy is None else [address for address in state.present.on(dummy.index) if address.ours]
    wanted = [
        f"{address.ip}/{address.prefixlen}"
        for address in sorted(carried, key=lambda address: _place(address.ip))
        if (claim := state.asked.claims.get(address.ip)) is not None and isinstance(place(claim, state.layout), OnDummy)
    ]
    return {
        "interface": dummy.name if dummy is not None else state.settings.dummy_interface,
        "count": len(wanted),
        "addresses": wanted[:REMOTE_MAX],
    }


def _failure_state(state: State, *, stale: bool) -> str:
    if state.fenced:
        return "fenced"
    if state.draining:
        return "draining"
    return "holding" if stale else "fit"


def _since(before: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for entry in before.get("announced") or ():
        found["announced", entry["ip"], entry["interface"]] = entry["since"]
    for entry in before.get("withheld") or ():
        found["withheld", entry["ip"], entry["reason"]] = entry["since"]
    return found


def _place(ip: IPAddress) -> tuple[int, int]:
    return ip.version, int(ip)
