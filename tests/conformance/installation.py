# SPDX-License-Identifier: Apache-2.0
"""PureLB on the real control plane: the shipped CRDs and RBAC, Nodes with the real kube-proxy, backends, and our processes.

What a kubelet would do is done here: Node and Pod objects are written, and allocator and agents run as `purelb ...` in the
namespaces their Pods would have, with the tokens of their ServiceAccounts. The workloads of deploy/ themselves are not applied,
since their Pods would never start. Questions about the world are asked where the answer lives: addresses in the kernels,
HTTP from the client's namespace, the rest at the API server as admin.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hack.api import Unreachable, inside
from hack.processes import Process, wait_until
from tests.conformance.manifests import Applier, Object, kustomize, read
from tests.conformance.topology import NodeSite, Topology, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hack.control_plane import ControlPlane

NAMESPACE = "purelb-system"
WORKLOADS = ("Deployment", "DaemonSet")
HTTP_PORT = 7472
BACKEND_PORT = 8080
STRAY_PORT = 7473
ANSWERS_WITHIN_S = (
    5.0  # and nobody at all is known after three, when the client's kernel gives up asking for the address
)

_REPOSITORY = Path(__file__).parents[2]
_OVERLAY = _REPOSITORY / "deploy" / "overlays" / "default"
_PURELB = Path(sys.executable).with_name("purelb")


class Holder(NamedTuple):
    """Where a kernel has an address."""

    node: str
    interface: str
    prefix_length: int


class Installation:
    """Made once per session by the fixture; close() ends every process it started."""

    def __init__(self, cluster: ControlPlane, topology: Topology, directory: Path) -> None:
        self.cluster = cluster
        self.topology = topology
        self.api = cluster.api()
        self.applier = Applier(self.api)
        self._directory = directory
        self._backends: list[Process] = []
        self.components: dict[str, Process] = {}

    def close(self) -> None:
        for process in [*self.components.values(), *self._backends]:
            process.kill()
        self.api.close()

    # --- what an operator applies

    def apply_shipped_manifests(self) -> None:
        """CRDs and the default overlay, except the workloads."""
        self.applier.apply(read(_REPOSITORY / "crds"))
        self.applier.apply(body for body in kustomize(_OVERLAY) if body["kind"] not in WORKLOADS)

    def workloads(self) -> list[Object]:
        """The part of the overlay that is not applied."""
        return [body for body in kustomize(_OVERLAY) if body["kind"] in WORKLOADS]

    def apply_configuration(self) -> None:
        """A ServiceGroup `default` of both families and an LBNodeAgent for every node."""
        agent = {
            "apiVersion": "purelb.io/v2",
            "kind": "LBNodeAgent",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {"local": {"localInterface": "default", "dummyKind": dummy_kind()}},
        }
        self.applier.apply(
            [agent, _group("default", v4="172.30.1.200-172.30.1.229", v6="fd00:30:1::200-fd00:30:1::229")]
        )

    @contextlib.contextmanager
    def group(self, name: str, *, v4: str) -> Iterator[None]:
        """A ServiceGroup for the length of a `with`."""
        body = _group(name, v4=v4)
        self.applier.apply([body])
        try:
            yield
        finally:
            self.api.delete(self.applier.path(body)).ok()

    # --- what kubelet and kube-proxy do on a node

    def join_nodes(self) -> None:
        """Node objects, the real kube-proxy in each node's namespace, and a ready backend Pod per node."""
        for site in self.topology.nodes:
            self._write_node(site)
            self.cluster.start_kube_proxy(site.netns, site.name)

    def _write_node(self, site: NodeSite) -> None:
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": site.name,
                "labels": {"kubernetes.io/hostname": site.name, "kubernetes.io/os": "linux"},
            },
            "spec": {"podCIDR": site.pod_cidrs[0], "podCIDRs": list(site.pod_cidrs)},
        }
        self.applier.apply([node])
        addresses = [{"type": "InternalIP", "address": ip} for ip in (site.ipv4, site.ipv6)]
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"addresses": [*addresses, {"type": "Hostname", "address": site.name}], "conditions": [ready]}
        self.api.patch(f"/api/v1/nodes/{site.name}/status", {"status": status}).ok()
        # Admission taints each new Node as not ready, and the controller that would take the taint off needs a kubelet.
        self.api.patch(f"/api/v1/nodes/{site.name}", {"spec": {"taints": None}}).ok()

    def start_backends(self, namespace: str, app: str) -> None:
        """A ready Pod per node with the label app=`app`, and the process that answers for all Pods of the node."""
        for site in self.topology.nodes:
            if len(self._backends) < len(self.topology.nodes):
                self._backends.append(self._start_backend(site))
            self._write_pod(namespace, app, site)

    def _start_backend(self, site: NodeSite) -> Process:
        script = str(Path(__file__).with_name("backend.py"))
        command = [sys.executable, script, site.name, str(BACKEND_PORT)]
        return Process(f"backend-{site.name}", command, log=self._log(f"backend-{site.name}"), netns=site.pod_netns)

    def _write_pod(self, namespace: str, app: str, site: NodeSite) -> None:
        name = f"{app}-{site.name}"
        path = f"/api/v1/namespaces/{namespace}/pods"
        container = {"name": "web", "image": "none", "ports": [{"containerPort": BACKEND_PORT}]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": site.name, "containers": [container], "terminationGracePeriodSeconds": 0},
        }
        self.api.post(path, pod).ok()
        status = {
            "phase": "Running",
            "podIP": site.pod_ipv4,
            "podIPs": [{"ip": site.pod_ipv4}, {"ip": site.pod_ipv6}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        self.api.patch(f"{path}/{name}/status", {"status": status}).ok()

    # --- our processes

    def start_allocator(self) -> Process:
        kubeconfig = self.cluster.kubeconfig_of_service_account(NAMESPACE, "allocator")
        return self._start("allocator", self.topology.control, kubeconfig, "--default-announcer", "PureLB")

    def start_agent(self, site: NodeSite) -> Process:
        kubeconfig = self.cluster.kubeconfig_of_service_account(NAMESPACE, "lbnodeagent", name=f"agent-{site.name}")
        # A restarted container keeps the UID of its Pod, and so the agent its lease.
        flags = ("--node-name", site.name, "--pod-uid", f"pod-of-{site.name}")
        return self._start("lbnodeagent", site.netns, kubeconfig, *flags, name=f"agent-{site.name}")

    def _start(self, command: str, netns: str, kubeconfig: Path, *flags: str, name: str | None = None) -> Process:
        name = name or command
        arguments = [str(_PURELB), command, "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, *flags]
        # Settings of whoever runs the tests are not the components'.
        process = Process(name, arguments, log=self._log(name), netns=netns, environment={"KUBECONFIG": ""})
        self.components[name] = process
        return process

    @contextlib.contextmanager
    def stray(self, netns: str, command: str, kubeconfig: Path, *flags: str) -> Iterator[Process]:
        """A component that is no part of the installation, for the length of a `with`; it listens on STRAY_PORT."""
        process = self._start(command, netns, kubeconfig, "--port", str(STRAY_PORT), *flags, name=f"stray-{command}")
        try:
            yield process
        finally:
            process.kill()
            del self.components[process.name]

    def readiness(self, netns: str, port: int) -> str:
        """The text of /readyz, or why there is none."""
        try:
            return self._get(netns, "127.0.0.1", port, "/readyz")[1]
        except OSError as why:
            return str(why)

    def metrics(self, name: str) -> str:
        """What /metrics of a component answers."""
        sites = {f"agent-{site.name}": site.netns for site in self.topology.nodes}
        status, text = self._get(sites.get(name, self.topology.control), "127.0.0.1", HTTP_PORT, "/metrics")
        assert status == 200, text
        return text

    def wait_ready(self, *names: str, within_s: float = 40.0) -> None:
        """Until /readyz of each says 200."""
        for name in names:
            netns = self.topology.control
            for site in self.topology.nodes:
                netns = site.netns if name == f"agent-{site.name}" else netns

            def probe(netns: str = netns) -> object:
                try:
                    status, text = self._get(netns, "127.0.0.1", HTTP_PORT, "/readyz")
                except OSError as why:
                    return str(why)
                return status == 200 or text

            wait_until(f"{name} is ready", probe, within_s=within_s, alive=[self.components[name]])

    def wait_at_work(self, *, within_s: float = 90.0) -> None:
        """Until the allocator leads and nobody waits before looking at the API server again.

        After an outage an informer may wait for a minute, and a killed leader's lease lives for 15 s: who begins before they
        are over waits for what another test left.
        """

        def probe() -> object:
            idle = {name: why for name in self.components if (why := self._not_at_work(name))}
            return idle == {} or idle

        wait_until("everybody is at work", probe, within_s=within_s, alive=list(self.components.values()))

    def _not_at_work(self, name: str) -> object:
        """Why a component could not answer at once to what is written now; empty if it could."""
        try:
            figures = _figures(self.metrics(name))
        except OSError as why:
            return str(why)
        if figures['purelb_process_phase{phase="Running"}'] != 1.0:
            return "it is not running"
        return {each: value for each, value in figures.items() if "reflector_backoff_seconds{" in each and value}

    # --- questions

    def service(self, namespace: str, name: str) -> Object:
        body: Object = self.api.get(f"/api/v1/namespaces/{namespace}/services/{name}").ok()
        return body

    def addresses(self, namespace: str, name: str) -> tuple[str, ...]:
        """What the status publishes, in its order."""
        ingress = self.service(namespace, name)["status"]["loadBalancer"].get("ingress", ())
        return tuple(entry["ip"] for entry in ingress)

    def condition(self, namespace: str, name: str, kind: str) -> tuple[str, str, str] | None:
        """(status, reason, message) of a condition of a Service."""
        for entry in self.service(namespace, name)["status"].get("conditions", ()):
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"]
        return None

    def holders(self, address: str) -> list[Holder]:
        """Every node's interface that has the address, by the kernels' own word."""
        return [
            Holder(site.name, link["ifname"], found["prefixlen"])
            for site in self.topology.nodes
            for link in _links(site.netns)
            for found in link["addr_info"]
            if found.get("local") == address
        ]

    def fetch(self, address: str, port: int) -> str:
        """One HTTP request from the client: the name of the backend's node. OSError when nobody answers."""
        status, text = self._get(self.topology.client, address, port, "/")
        assert status == 200, text
        return text.strip()

    def wait_addresses(self, namespace: str, name: str, *, count: int = 1) -> tuple[str, ...]:
        seen: tuple[str, ...] = ()

        def probe() -> object:
            nonlocal seen
            seen = self.addresses(namespace, name)
            return len(seen) == count or self.service(namespace, name)["status"]

        what = f"Service {name} has {count} addresses"
        wait_until(what, probe, within_s=30, alive=[self.components["allocator"]])
        return seen

    def wait_one_holder(self, address: str, *, among: Iterable[str] | None = None, within_s: float = 30.0) -> Holder:
        """Until exactly one node has the address on its LAN interface, and that node is one of `among`."""
        nodes = [site.name for site in self.topology.nodes] if among is None else list(among)
        seen: list[Holder] = []

        def probe() -> object:
            nonlocal seen
            seen = self.holders(address)
            return (len(seen) == 1 and seen[0].interface == "eth0" and seen[0].node in nodes) or seen

        wait_until(f"one node of {nodes} has {address} on eth0", probe, within_s=within_s)
        return seen[0]

    def wait_answer(self, address: str, port: int, *, within_s: float = 30.0) -> str:
        """Until the client gets an answer from it."""
        seen: dict[str, str] = {}

        def probe() -> object:
            try:
                seen["name"] = self.fetch(address, port)
            except OSError as why:
                return str(why)
            return True

        wait_until(f"{address}:{port} answers", probe, within_s=within_s)
        return seen["name"]

    def wait_condition(
        self, namespace: str, name: str, kind: str, status: str, reason: str, *, within_s: float = 30.0
    ) -> str:
        """Until the condition is there with this status and reason; its message."""
        seen: tuple[str, str, str] | None = None

        def probe() -> object:
            nonlocal seen
            seen = self.condition(namespace, name, kind)
            return (seen is not None and seen[:2] == (status, reason)) or seen

        wait_until(f"{kind} of {name} is {status} because of {reason}", probe, within_s=within_s)
        assert seen is not None
        return seen[2]

    def _get(self, netns: str, host: str, port: int, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, port, timeout=ANSWERS_WITHIN_S)
        try:
            with inside(netns):
                connection.connect()
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except http.client.HTTPException as broken:
            raise Unreachable(str(broken)) from broken
        finally:
            connection.close()

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"


def _group(name: str, *, v4: str, v6: str | None = None) -> Object:
    local: Object = {"v4pools": [{"pool": v4, "subnet": "172.30.1.0/24"}]}
    if v6 is not None:
        local["v6pools"] = [{"pool": v6, "subnet": "fd00:30:1::/64"}]
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "purelb.io/v2", "kind": "ServiceGroup", "metadata": metadata, "spec": {"local": local}}


def _figures(metrics: str) -> dict[str, float]:
    """Every series and its value."""
    parts = (line.rpartition(" ") for line in metrics.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in parts}


def _links(netns: str) -> list[Mapping[str, Any]]:
    links: list[Mapping[str, Any]] = json.loads(run("ip", "-n", netns, "-j", "address"))
    return links


def dummy_kind() -> str:
    """`dummy`, or `ifb` on a kernel without that module (spec.local.dummyKind)."""
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "probe0", "type", "dummy"], check=False, capture_output=True
    )
    return "dummy" if tried.returncode == 0 else "ifb"
