# SPDX-License-Identifier: Apache-2.0
"""A component that misses something says what, waits, and disturbs nobody: it does not exit, for a crash loop helps nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hack.processes import wait_until
from tests.conformance.installation import NAMESPACE, STRAY_PORT
from tests.conformance.test_stories import create

if TYPE_CHECKING:
    from pathlib import Path

    from hack.processes import Process
    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(120)


def wait_said(installed: Installation, process: Process, netns: str, words: str) -> None:
    """Until /readyz of the stray process says so; it must live on."""

    def probe() -> object:
        seen = installed.readiness(netns, STRAY_PORT)
        return words in seen or seen

    wait_until(f"/readyz says {words!r}", probe, within_s=40, alive=[process])


def test_without_its_rights_the_allocator_names_those_that_it_misses(installed: Installation) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": NAMESPACE}}
    installed.applier.apply([account])
    kubeconfig = installed.cluster.kubeconfig_of_service_account(NAMESPACE, "nobody")
    control = installed.topology.control
    try:
        with installed.stray(control, "allocator", kubeconfig) as process:
            wait_said(
                installed,
                process,
                control,
                "RBAC: purelb-system/nobody may not patch services/status, needed to publish addresses",
            )
            wait_said(installed, process, control, "see purelb rbac")
    finally:
        installed.api.delete(installed.applier.path(account)).ok()


def test_without_an_api_server_a_component_says_where_it_looks_for_one(installed: Installation, tmp_path: Path) -> None:
    config = json.loads(installed.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://10.254.0.1:1"
    kubeconfig = tmp_path / "nowhere.yaml"
    kubeconfig.write_text(json.dumps(config))
    control = installed.topology.control
    with installed.stray(control, "allocator", kubeconfig) as process:
        wait_said(installed, process, control, "waiting for the API server at https://10.254.0.1:1")
    node = installed.topology.nodes[0]
    with installed.stray(node.netns, "lbnodeagent", kubeconfig, "--node-name", node.name) as process:
        wait_said(installed, process, node.netns, "waiting for the API server at https://10.254.0.1:1")


def test_an_agent_of_a_node_that_does_not_exist_announces_nothing_and_says_so(
    installed: Installation, namespace: str
) -> None:
    kubeconfig = installed.cluster.kubeconfig_of_service_account(NAMESPACE, "lbnodeagent", name="agent-n9")
    client = installed.topology.client
    with installed.stray(client, "lbnodeagent", kubeconfig, "--node-name", "n9") as process:
        wait_said(installed, process, client, 'Node "n9" does not exist: PURELB_NODE_NAME must be spec.nodeName')
        create(installed, namespace, "web")
        (address,) = installed.wait_addresses(namespace, "web")
        assert installed.wait_one_holder(address).node in {node.name for node in installed.topology.nodes}
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/purelb-node-n9"
    assert installed.api.get(lease).status == 404


def test_a_second_allocator_stands_by_and_says_whom_it_waits_for(installed: Installation) -> None:
    kubeconfig = installed.cluster.kubeconfig_of_service_account(NAMESPACE, "allocator", name="second")
    control = installed.topology.control
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/purelb-allocator"
    before = installed.api.get(lease).ok()["spec"]["holderIdentity"]
    with installed.stray(control, "allocator", kubeconfig, "--default-announcer", "PureLB") as process:
        wait_until(
            "it stands by",
            lambda: '"phase":"Standby"' in process.log.read_text() or process.log.read_text(),
            within_s=40,
            alive=[process],
        )
        assert installed.api.get(lease).ok()["spec"]["holderIdentity"] == before
