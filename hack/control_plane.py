# SPDX-License-Identifier: Apache-2.0
"""A real control plane on this machine: etcd, kube-apiserver and kube-controller-manager, started and ended by us.

Everything it makes lies in one directory; it listens on one address, loopback unless told otherwise, with client certificates
and RBAC as in a cluster. What is left out has its reason beside the flag. There is no kubelet and no cloud: Nodes and Pods are
objects that a test writes, which is why the controllers that act on their absence are off. Children die with this process.

    with ControlPlane.start(Path("/tmp/cp")) as cluster: ...      # .kubeconfig, .api(), .token("default", "someone")

As a command: `python -m hack.control_plane up | down | kubeconfig | run` (see hack/command.py).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Self

from hack import binaries
from hack.api import JSON, Answer, Api, Unreachable, inside
from hack.pki import Authority, Pair, service_account_keys
from hack.processes import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

# Dual stack, in the order that gives a Service without ipFamilies an IPv4 cluster IP.
SERVICE_CIDRS = "10.96.0.0/16,fd00:96::/112"
POD_CIDRS = "10.244.0.0/16,fd00:244::/56"

# There is no cloud provider, and no kubelet renews a Node: the node controllers would taint every Node after 40 s and
# delete its Pods after five minutes. `controllers=` of start() brings them back for a test that writes heartbeats.
CONTROLLERS = (
    "*,-service-lb-controller,-cloud-node-lifecycle-controller,-node-lifecycle-controller,-taint-eviction-controller"
)

_ISSUER = "https://kubernetes.default.svc"


class ControlPlane:
    """The three processes and the credentials to talk to them. Made by start(); ended by stop() or by leaving the `with`."""

    def __init__(
        self,
        directory: Path,
        *,
        host: str,
        netns: str | None,
        sans: Iterable[str],
        controllers: str | None,
        audited: Iterable[str],
    ) -> None:
        self.directory = directory
        self.audit_log = directory / "logs" / "audit.jsonl"
        self._audited = tuple(audited)
        self.netns = netns
        self.binaries = binaries.directory()
        self._host = host
        self._controllers = controllers
        for part in ("pki", "logs", "etcd", "kubeconfigs"):
            (directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._authority = Authority(directory / "pki")
        self._tls = self._authority.server(
            "kube-apiserver", sans=dict.fromkeys((host, "127.0.0.1", "localhost", "kubernetes.default.svc", *sans))
        )
        self._sa_keys = service_account_keys(directory / "pki")
        self._admin = self._authority.client("admin", user="kubernetes-admin", groups=["system:masters"])
        with inside(netns):
            etcd_port, peer_port, self._port = _free_ports("127.0.0.1", "127.0.0.1", host)
        self._etcd_url = f"http://127.0.0.1:{etcd_port}"
        self._peer_url = f"http://127.0.0.1:{peer_port}"
        self.server = f"https://{f'[{host}]' if ':' in host else host}:{self._port}"
        self.kubeconfig = self.kubeconfig_of_certificate("admin", self._admin)
        self._admin_api = self.api()
        self._processes: dict[str, Process] = {}
        self._proxied: dict[str, str] = {}  # the namespace of each kube-proxy, by its process's name

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        netns: str | None = None,
        sans: Iterable[str] = (),
        controllers: str | None = CONTROLLERS,
        audited: Iterable[str] = (),
        within_s: float = 60.0,
    ) -> Self:
        """Start all three and wait until the API is ready and the controllers work. The binaries must be there (hack/build).

        directory  private and empty, or new: certificates, data, logs, kubeconfigs
        controllers  what kube-controller-manager runs; None: etcd and kube-apiserver alone
        host       the address to listen on and the one every kubeconfig names; it must exist in `netns`
        netns      a named network namespace to run in; etcd listens on its loopback
        sans       further names and addresses of the server certificate, for a relay
        audited    namespaces whose ServiceAccounts' requests are written to `audit_log`, one JSON line each
        """
        self = cls(directory, host=host, netns=netns, sans=sans, controllers=controllers, audited=audited)
        try:
            self._start_etcd()
            self.start_api_server(within_s=within_s)
            if controllers is not None:
                self.start_controller_manager(within_s=within_s)
        except BaseException:
            self.stop()
            raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything, last started first. A second call does nothing."""
        self._admin_api.close()
        while self._processes:
            self._processes.popitem()[1].stop(grace_s=5.0)

    # --- the processes

    def _start_etcd(self) -> None:
        self._start(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
            "--unsafe-no-fsync",  # nobody needs this data after a power cut
            "--log-level=warn",
        )

    def start_api_server(self, *, within_s: float = 60.0) -> None:
        """Start kube-apiserver, on the same port as before, and wait for /readyz.

        kube-controller-manager and every kube-proxy start anew with it: their reflectors would wait up to a minute (30 s,
        doubled by jitter) before they look again, and remember earlier outages for two. Who comes next would wait for them.
        """
        self.wait_ready(self.launch_api_server(), within_s=within_s)
        for process in (each for each in tuple(self._processes) if each.startswith("kube-proxy-")):
            self._processes.pop(process).stop()
            self._launch_kube_proxy(process)
        if "kube-controller-manager" in self._processes:
            self.stop_controller_manager()
            self.start_controller_manager(within_s=within_s)

    def wait_ready(self, process: Process, *, within_s: float = 60.0) -> None:
        """Wait for /readyz of what `launch_api_server` answered. May be called in another thread, which starting may not."""
        wait_until("the API server is ready", self._readyz, within_s=within_s, alive=[process])

    def launch_api_server(self) -> Process:
        """Start kube-apiserver, on the same port as before, and do not wait."""
        pki = self.directory / "pki"
        return self._start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            f"--bind-address={self._host}",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self._tls.certificate}",
            f"--tls-private-key-file={self._tls.key}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={self._sa_keys.certificate}",
            f"--service-account-signing-key-file={self._sa_keys.key}",
            f"--service-cluster-ip-range={SERVICE_CIDRS}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",  # Pods are written by tests, without mounted tokens
            "--endpoint-reconciler-type=none",  # its Endpoints would have to be this address, which may be loopback
            "--advertise-address=192.0.2.1",  # unused for the same reason, and must not be loopback
            "--allow-privileged=true",
            # Otherwise a stop waits a minute for its watchers; with it they are told to go, and a stop takes a second.
            "--shutdown-watch-termination-grace-period=1s",
            *self._audit_flags(),
        )

    def _audit_flags(self) -> list[str]:
        if not self._audited:
            return []
        groups = [f"system:serviceaccounts:{namespace}" for namespace in self._audited]
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": groups}, {"level": "None"}],
        }
        path = self.directory / "audit-policy.json"
        path.write_text(json.dumps(policy))
        return [f"--audit-policy-file={path}", f"--audit-log-path={self.audit_log}", "--audit-log-maxsize=1024"]

    def stop_api_server(self) -> None:
        """The outage of a planned restart: watches are ended, the port is closed. start_api_server() ends it."""
        self._processes.pop("kube-apiserver").stop()

    def kill_api_server(self) -> None:
        """The outage of a crash: SIGKILL, connections are reset."""
        self._processes.pop("kube-apiserver").kill()

    def freeze_api_server(self) -> None:
        """SIGSTOP: its connections stay, its kernel acknowledges what it is sent, and nobody answers."""
        self._processes["kube-apiserver"].signal(signal.SIGSTOP)

    def thaw_api_server(self) -> None:
        """SIGCONT: it goes on where it was."""
        self._processes["kube-apiserver"].signal(signal.SIGCONT)

    def compact(self) -> int:
        """Compact etcd up to a revision that no client has seen, and answer it. The API server keeps the recent past of its own."""
        with inside(self.netns):
            something: dict[str, object] = {"key": base64.b64encode(b"/hack/compacted").decode(), "value": ""}
            now = int(_etcd(self._etcd_url, "kv/put", something)["header"]["revision"])
            _etcd(self._etcd_url, "kv/compaction", {"revision": now, "physical": True})
        return now

    def forget(self, *, within_s: float = 60.0) -> None:
        """Compact etcd and start the API server anew: lists and watches of older revisions answer 410."""
        self.stop_api_server()
        self.compact()
        self.start_api_server(within_s=within_s)

    def start_controller_manager(self, *, within_s: float = 60.0) -> None:
        """Start kube-controller-manager and wait until it has done something: namespace default has its ServiceAccount.

        Of a cluster that was started without controllers it runs those that such a cluster has otherwise.
        """
        user = "system:kube-controller-manager"
        pair = self._authority.client("kube-controller-manager", user=user)
        process = self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig_of_certificate('kube-controller-manager', pair)}",
            f"--controllers={self._controllers or CONTROLLERS}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._sa_keys.key}",
            f"--root-ca-file={self.directory / 'pki' / 'ca.crt'}",
            f"--cluster-cidr={POD_CIDRS}",
            "--allocate-node-cidrs=false",  # a test writes podCIDRs into the Nodes it makes
            "--leader-elect=false",
            "--secure-port=0",  # nobody asks it for metrics
            "--concurrent-service-endpoint-syncs=5",
        )
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(
            "the controllers work", lambda: self._admin_api.get(path).status == 200, within_s=within_s, alive=[process]
        )

    def stop_controller_manager(self) -> None:
        self._processes.pop("kube-controller-manager").stop()

    def start_kube_proxy(self, netns: str, node_name: str) -> Process:
        """kube-proxy for one Node, in nftables mode, inside an existing named network namespace.

        The Node object must exist, with an InternalIP per family. The address of the API server must be reachable there.
        stop() ends it with the rest; the Process is for tests that end it earlier, before a restart of the API server.
        """
        name = f"kube-proxy-{node_name}"
        pair = self._authority.client("kube-proxy", user="system:kube-proxy")
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": node_name,
            "clientConnection": {"kubeconfig": str(self.kubeconfig_of_certificate("kube-proxy", pair))},
            "clusterCIDR": POD_CIDRS,
            "detectLocalMode": "ClusterCIDR",
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            # Sizes of the conntrack table are the machine's, not a namespace's.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nftables": {"minSyncPeriod": "100ms"},  # one sync a second is slower than a test
        }
        (self.directory / f"{name}.json").write_text(json.dumps(config, indent=1))
        self._proxied[name] = netns
        return self._launch_kube_proxy(name)

    def _launch_kube_proxy(self, name: str) -> Process:
        path = self.directory / f"{name}.json"
        return self._start("kube-proxy", f"--config={path}", name=name, netns=self._proxied[name])

    def _start(self, binary: str, *flags: str, name: str | None = None, netns: str | None = None) -> Process:
        name = name or binary
        if name in self._processes and self._processes[name].returncode is None:
            raise RuntimeError(f"{name} runs already, pid {self._processes[name].pid}")
        log = self.directory / "logs" / f"{name}.log"
        process = Process(name, [self.binaries / binary, *flags], log=log, netns=netns or self.netns)
        self._processes[name] = process
        return process

    def _readyz(self) -> object:
        try:
            answer = self._admin_api.get("/readyz")
        except Unreachable as why:
            return str(why)
        return True if answer.status == 200 else answer

    # --- credentials

    def api(self, *, token: str | None = None, accept: str = JSON) -> Api:
        """A client: of the cluster's admin, or of whoever the token belongs to. Close it when done."""
        ca = self._authority.certificate
        if token is not None:
            return Api(self.server, ca=ca, token=token, accept=accept, netns=self.netns)
        certificate, key = self._admin
        return Api(self.server, ca=ca, certificate=certificate, key=key, accept=accept, netns=self.netns)

    @property
    def ca(self) -> Path:
        """The certificate of the authority that all of this control plane trusts."""
        return self._authority.certificate

    def server_certificate(self, name: str, *, sans: Iterable[str] = ("127.0.0.1",)) -> Pair:
        """A certificate for a server of a test's own, such as an admission webhook."""
        return self._authority.server(name, sans=sans)

    def token(self, namespace: str, service_account: str, *, lifetime_s: int = 3600) -> str:
        """A token of an existing ServiceAccount, from the TokenRequest API as a kubelet would get it."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer: Answer = self._admin_api.post(path, {**wanted, "spec": {"expirationSeconds": lifetime_s}})
        return str(answer.ok()["status"]["token"])

    def kubeconfig_of_certificate(self, name: str, pair: Pair, *, server: str | None = None) -> Path:
        user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_kubeconfig(name, user, server=server)

    def kubeconfig_of_service_account(
        self, namespace: str, service_account: str, *, name: str | None = None, server: str | None = None
    ) -> Path:
        """A kubeconfig that carries a fresh token of the ServiceAccount; its context names the namespace."""
        user = {"token": self.token(namespace, service_account)}
        return self._write_kubeconfig(
            name or f"{namespace}-{service_account}", user, namespace=namespace, server=server
        )

    def _write_kubeconfig(
        self, name: str, user: dict[str, str], *, namespace: str = "default", server: str | None = None
    ) -> Path:
        cluster = {"server": server or self.server, "certificate-authority": str(self._authority.certificate)}
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "conformance", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": "conformance", "user": name, "namespace": namespace}}],
            "current-context": name,
        }
        path = self.directory / "kubeconfigs" / f"{name}.yaml"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(config, file, indent=1)  # JSON is YAML
        return path


def _etcd(url: str, call: str, body: dict[str, object]) -> Any:
    """One call of etcd's JSON gateway."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10.0)
    try:
        connection.request("POST", f"/v3/{call}", json.dumps(body))
        response = connection.getresponse()
        read = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"etcd answers {call} with {response.status}: {read}")
    return json.loads(read)


def _free_ports(*hosts: str) -> list[int]:
    """A port on each host, no two of them the same, that was free a moment ago. Another process may take one before we do;
    then the start fails and says so."""
    with contextlib.ExitStack() as probes:  # each is held until all are found, or the kernel might give one twice
        found = []
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = probes.enter_context(socket.socket(family, socket.SOCK_STREAM))
            probe.bind((host, 0))
            found.append(int(probe.getsockname()[1]))
        return found


if __name__ == "__main__":
    from hack.command import main

    raise SystemExit(main())
