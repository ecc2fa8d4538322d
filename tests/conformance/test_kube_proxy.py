# SPDX-License-Identifier: Apache-2.0
"""The other half of every story, without our processes: an address that a node's kernel answers for is served by kube-proxy.

A red story next to a green line here is our fault; a red line here is the harness's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.installation import BACKEND_PORT, Installation
from tests.conformance.topology import run

if TYPE_CHECKING:
    from tests.conformance.topology import Topology


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("address", "length"), [("172.30.1.240", 32), ("fd00:30:1::f0", 128)], ids=["by IPv4", "by IPv6"]
)
def test_an_ingress_address_on_a_nodes_interface_reaches_a_backend(
    site: Installation, topology: Topology, namespace: str, address: str, length: int
) -> None:
    site.start_backends(namespace, "web")
    path = f"/api/v1/namespaces/{namespace}/services"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.org/by-hand",
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv6" if ":" in address else "IPv4"],
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": BACKEND_PORT}],
        },
    }
    site.api.post(path, service).ok()
    site.api.patch(f"{path}/web/status", {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).ok()
    with pytest.raises(OSError, match=r"timed out|No route to host|refused"):
        site.fetch(address, 80)
    holder = topology.nodes[1]
    nodad = ["nodad"] if ":" in address else []
    run("ip", "-n", holder.netns, "address", "add", f"{address}/{length}", "dev", "eth0", *nodad)
    try:
        assert site.wait_one_holder(address) == (holder.name, "eth0", length)
        assert site.wait_answer(address, 80) in {node.name for node in topology.nodes}
    finally:
        run("ip", "-n", holder.netns, "address", "delete", f"{address}/{length}", "dev", "eth0")
