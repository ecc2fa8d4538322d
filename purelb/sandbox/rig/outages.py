# SPDX-License-Identifier: Apache-2.0
"""What a running rig's links suffer, and back: cut networks, a node without power.

All of it is synchronous netlink, to be run `aside` in the hub. `stand` makes every port and the bridge's rules agree with the cuts, whatever was before.
A node without power has no links and, once its processes are gone, no namespaces: what comes back is a new one, as after a boot, without a socket or a
connection of its former life. That is why it is not enough to take its links down: the kernel would go on retransmitting what the dead had sent.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from pyroute2 import IPRoute

from purelb.sandbox.rig.cuts import port, ruleset
from purelb.sandbox.rig.doctor import SYSTEM_PATH
from purelb.sandbox.rig.links import join_node, join_pod

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from purelb.sandbox.rig.cuts import Cut
    from purelb.sandbox.rig.links import Rig
    from purelb.sandbox.rig.topology import NodePlace, Topology

UP: Final = 1  # IFF_UP


def stand(topology: Topology, nodes: Iterable[str], cuts: Collection[Cut], *, rules: bool) -> None:
    """Make the ports of `nodes` and, with `rules`, the bridge's rules as the cuts want them."""
    if rules:
        told = subprocess.run(
            ["nft", "-f", "-"],
            input=ruleset(cuts, topology),
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": SYSTEM_PATH},
        )
        if told.returncode:
            raise OSError(f"nft refused the rules: {' '.join(told.stderr.split())[:300]}")
    with IPRoute() as hub:
        for node in nodes:
            for cable in topology.node(node).cables:
                _stand(hub, cable.port, cable.bridge, wanted=port(cuts, node, cable.network))


def _stand(hub: IPRoute, name: str, bridge: str, *, wanted: str) -> None:
    (found,) = hub.get_links(ifname=name)
    master = 0 if wanted == "out" else hub.link_lookup(ifname=bridge)[0]
    if (found.get_attr("IFLA_MASTER") or 0) != master:
        hub.link("set", index=found["index"], master=master)
    if bool(found["flags"] & UP) != (wanted != "down"):
        hub.link("set", index=found["index"], state="down" if wanted == "down" else "up")


def unplug(node: NodePlace) -> None:
    """Take the node's links away; nothing it still sends arrives."""
    with IPRoute() as hub:
        for cable in node.cables:
            hub.link("del", index=hub.link_lookup(ifname=cable.port)[0])


def plug_in(rig: Rig, node: str) -> None:
    """Build the node and its pods in their fresh namespaces."""
    with IPRoute() as hub:
        join_node(hub, rig.topology.node(node), rig.topology, rig.networks)
    for pod in rig.topology.pods:
        if pod.node == node:
            join_pod(pod, rig.topology.node(node), rig.networks)
