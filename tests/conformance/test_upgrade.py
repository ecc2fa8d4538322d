# SPDX-License-Identifier: Apache-2.0
"""The page about the upgrade from PureLB (Go), with its own commands, on a control plane of its own.

PureLB (Go) is what it left: its CRDs with one version, objects stored under it, two workloads, 200 Services. The commands of
the page run one block after the other. What a kubelet would do for the allocator's Pod is done here, with the environment that the
Deployment says; node agents have no node to run on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hack import binaries
from hack.control_plane import ControlPlane
from hack.processes import Process, wait_until
from tests.conformance.conftest import REPOSITORY, unavailable
from tests.conformance.manifests import Applier, Object
from tests.purelb_go import ANNOUNCED, OLD_NAMESPACE, SERVICES, Generation, Left, left_by, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hack.api import Api

pytestmark = pytest.mark.timeout(240)

PAGE = REPOSITORY / "docs" / "upgrade-from-purelb-go.md"
NAMESPACE = "purelb-system"
SHOP = "shop"
PORT = 7482
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
NODE = "pieces"


class Upgrade:
    """One control plane, and somebody who follows the page."""

    def __init__(self, cluster: ControlPlane, generation: Generation, directory: Path) -> None:
        self.cluster = cluster
        self.generation = generation
        self.api: Api = cluster.api()
        self.applier = Applier(self.api)
        self.left: Left = left_by(generation, shop=SHOP)
        self._directory = directory
        self._allocator: Process | None = None
        self._command: tuple[list[str], Mapping[str, str]] = ([], {})

    def close(self) -> None:
        if self._allocator is not None:
            self._allocator.kill()
        self.api.close()

    def leave(self) -> None:
        """Everything as PureLB (Go) leaves it."""
        old = OLD_NAMESPACE[self.generation]
        for name in (old, SHOP):
            self.applier.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        accounts = [_named("v1", "ServiceAccount", old, name) for name in ("allocator", "lbnodeagent")]
        self.applier.apply([*self.left.crds, *accounts, *self.left.groups, *self.left.agents])
        self.applier.apply([_workload("Deployment", old, "allocator"), _workload("DaemonSet", old, "lbnodeagent")])
        for body in (*self.left.services, *self.left.strangers):
            path = f"/api/v1/namespaces/{SHOP}/services"
            self.api.post(path, {key: body[key] for key in body if key != "status"}).ok()
            self.api.patch(f"{path}/{body['metadata']['name']}/status", {"status": body["status"]}).ok()

    def run(self, block: str) -> str:
        """One block of the page, as a shell runs it."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "PATH": f"{self.cluster.binaries}:{os.environ['PATH']}",
            "OLD": OLD_NAMESPACE[self.generation],
            "TMPDIR": str(self._directory),
        }
        # What the page writes goes to a directory of ours; what it reads from the checkout is linked there.
        for name in ("crds", "deploy"):
            if not (self._directory / name).exists():
                (self._directory / name).symlink_to(REPOSITORY / name)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            check=False,
            cwd=self._directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def services(self) -> Mapping[str, Any]:
        items = self.api.get(f"/api/v1/namespaces/{SHOP}/services").ok()["items"]
        return {item["metadata"]["name"]: {**item, "metadata": _lasting(item["metadata"])} for item in items}

    def start_pod(self) -> None:
        """What scheduler and kubelet do with the allocator's newest Pod: it runs here, with what its Deployment says."""
        wanted = self.api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/allocator").ok()
        container = wanted["spec"]["template"]["spec"]["containers"][0]

        def newest() -> Any:
            pods = self.api.get(PODS).ok()["items"]
            return [
                pod
                for pod in pods
                if pod["metadata"]["labels"].get("component") == "allocator"
                # those of the Deployment before, which are collected in their own time, have none
                and pod["spec"]["containers"][0].get("env") == container["env"]
            ]

        wait_until("the Deployment has made its Pod", lambda: bool(newest()) or newest(), within_s=30)
        name = newest()[0]["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        self.api.post(f"{PODS}/{name}/binding", binding).ok()
        literal = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        kubeconfig = self.cluster.kubeconfig_of_service_account(NAMESPACE, "allocator")
        purelb = Path(sys.executable).with_name("purelb")
        arguments = [str(purelb), *container["args"], "--kubeconfig", str(kubeconfig), "--port", str(PORT)]
        environment = {**literal, "PURELB_NAMESPACE": NAMESPACE, "PURELB_HOST": "127.0.0.1", "KUBECONFIG": ""}
        self._command = arguments, environment
        self._start()
        ready = {"conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]}
        self.api.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", **ready}}).ok()

    def restart(self) -> None:
        """The process ends without a word, and the next one begins."""
        assert self._allocator is not None
        self._allocator.kill()
        self.api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/purelb-allocator").ok()
        self._start()

    def _start(self) -> None:
        arguments, environment = self._command
        log = self._directory / "allocator.log"
        self._allocator = Process("allocator", arguments, log=log, environment=environment)
        self.wait_leader()

    def wait_leader(self) -> None:
        assert self._allocator is not None
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/purelb-allocator"

        def leads() -> object:
            answer = self.api.get(path)
            return (answer.status == 200 and bool(answer.body["spec"].get("holderIdentity"))) or answer.status

        wait_until("the allocator leads", leads, within_s=30, alive=[self._allocator])

    def wait_told(self) -> None:
        """Until every Service of ours has been told where it stands, and nothing is written any more."""

        def told() -> object:
            items = self.api.get(f"/api/v1/namespaces/{SHOP}/services").ok()["items"]
            count = sum(
                any(entry["type"] == ANNOUNCED for entry in item["status"].get("conditions", ())) for item in items
            )
            return count == SERVICES or count

        assert self._allocator is not None
        wait_until("every Service says where it stands", told, within_s=60, alive=[self._allocator])

    def status_writes(self) -> int:
        """How often the allocator wrote a status of a Service, by the audit log."""
        whole = self.cluster.audit_log.read_bytes().rpartition(b"\n")[0]  # the server may be at work at the next line
        events = map(json.loads, whole.splitlines())
        return sum(
            event["verb"] == "patch"
            and event["user"]["username"] == f"system:serviceaccount:{NAMESPACE}:allocator"
            and event.get("objectRef", {}).get("resource") == "services"
            and event["objectRef"].get("subresource") == "status"
            and event["responseStatus"]["code"] == 200
            for event in events
        )


def _named(version: str, kind: str, namespace: str, name: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _workload(kind: str, namespace: str, name: str) -> Object:
    labels = {"app": "purelb", "component": name}
    container = {"name": name, "image": f"ghcr.io/purelb/purelb/{name}:0.14.0"}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return {**_named("apps/v1", kind, namespace, name), "spec": spec}


def _lasting(meta: Object) -> Object:
    return {key: value for key, value in meta.items() if key not in {"resourceVersion", "managedFields"}}


def blocks() -> list[str]:
    return re.findall(r"```console\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(params=["v1", "v2"])
def upgrade(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgrade]:
    if why := binaries.missing():
        unavailable(why)
    directory = tmp_path / "control-plane"
    directory.mkdir(mode=0o700)
    with ControlPlane.start(directory, audited=[NAMESPACE]) as cluster:
        made = Upgrade(cluster, request.param, tmp_path)
        try:
            yield made
        finally:
            made.close()


def test_the_commands_of_the_page_take_a_cluster_over_without_one_address_moving(upgrade: Upgrade) -> None:
    upgrade.leave()
    before = upgrade.services()
    first, *commands = blocks()
    assert first == "export OLD=purelb-system\n"
    for block in commands:
        waits = block.splitlines()
        doing = [line for line in waits if "rollout status" not in line]
        said = upgrade.run("\n".join(doing)) if doing else ""
        if "crd/servicegroups" in block:
            what_was_stored_is_read_with_the_defaults_of_its_version(upgrade)
        if doing != waits:
            upgrade.start_pod()
            upgrade.run("\n".join(line for line in waits if "rollout status" in line))
            upgrade.wait_told()
        if block.startswith("kubectl get services") and "diff" in block:
            assert re.search(r"servicegroup.*/default .*True", said), said
    assert list(moved(before, upgrade.services())) == []
    assert upgrade.status_writes() == SERVICES, "one write for each Service"

    upgrade.restart()
    rest = upgrade.services()
    newcomer = {**_named("v1", "Service", SHOP, "newcomer")}
    newcomer["spec"] = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    upgrade.applier.apply([newcomer])

    def given() -> list[str]:
        status = upgrade.api.get(f"/api/v1/namespaces/{SHOP}/services/newcomer").ok()["status"]
        return [entry["ip"] for entry in status["loadBalancer"].get("ingress", ())]

    wait_until("a new Service gets an address", lambda: bool(given()) or given(), within_s=30)
    taken = {entry["ip"] for body in before.values() for entry in body["status"]["loadBalancer"]["ingress"]}
    assert not taken.intersection(given())
    time.sleep(2.0)  # whoever wants to write something by itself has had the time
    now = upgrade.services()
    assert {name: now[name] for name in rest} == dict(rest), "the next start changes nothing"


def what_was_stored_is_read_with_the_defaults_of_its_version(upgrade: Upgrade) -> None:
    namespace = OLD_NAMESPACE[upgrade.generation]
    for version in ("v1", "v2"):
        path = f"/apis/purelb.io/{version}/namespaces/{namespace}/servicegroups/default"
        found = upgrade.api.get(path).ok()
        assert found["spec"]["local"]["offSubnet"] == ("Dummy" if upgrade.generation == "v1" else "Withhold")
        edited = upgrade.api.patch(path, {"metadata": {"labels": {"edited": version}}}).ok()
        assert edited["spec"] == found["spec"], "an edit through either version leaves the rest"
