# SPDX-License-Identifier: Apache-2.0
"""A control plane without nodes, with our kinds and roles, and allocators that are processes.

What is judged there is what the API says. Leases are short unless a story needs the usual ones, so that there is soon a new
leader. Every replica has a token of its own, which is how the witness tells one from another.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hack.control_plane import ControlPlane
from hack.processes import Process, wait_until
from tests.conformance.installation import NAMESPACE, WORKLOADS
from tests.conformance.manifests import Applier, Object, kustomize, read
from tests.conformance.witness import credential_in

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
PURELB: Final = Path(sys.executable).with_name("purelb")
SHORT_LEASES: Final = (
    *("--leader-lease-duration", "4s"),
    *("--leader-renew-deadline", "3s"),
    *("--leader-retry-period", "1s"),
)
STARTS_WITHIN_S: Final = 60.0  # on a machine that has much else to do; a clean start takes one


@contextlib.contextmanager
def with_our_kinds(directory: Path, *, audited: bool = False) -> Iterator[ControlPlane]:
    """A control plane of somebody's own, with the CRDs and the default overlay but for the workloads."""
    with ControlPlane.start(directory, audited=[NAMESPACE] if audited else []) as plane:
        with contextlib.closing(plane.api()) as api:
            applier = Applier(api)
            applier.apply(read(REPOSITORY / "crds"))
            overlay = kustomize(REPOSITORY / "deploy" / "overlays" / "default")
            applier.apply(body for body in overlay if body["kind"] not in WORKLOADS)
        yield plane


def remote_group(name: str, *pools: str, subnet: str, **spec: Any) -> Object:
    """A ServiceGroup of IPv4 ranges that needs no node in its subnet."""
    entries = [{"pool": pool, "subnet": subnet} for pool in pools]
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "ServiceGroup",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**spec, "remote": {"v4pools": entries}},
    }


class Replica:
    """One allocator: its process, its token, and what it says of itself."""

    def __init__(self, process: Process, *, credential: str, socket: Path, said_before: int) -> None:
        self.process = process
        self.credential = credential
        self._socket = socket
        self._said_before = said_before

    def said(self) -> list[dict[str, Any]]:
        """The whole lines of its log since it was started."""
        whole = self.process.log.read_bytes()[self._said_before :].rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def phase(self) -> str:
        told = [line["phase"] for line in self.said() if line["code"] == "phaseChanged"]
        return told[-1] if told else ""

    def wait_phase(self, phase: str) -> None:
        wait_until(
            f"{self.process.name} is {phase}",
            lambda: self.phase() == phase or self.phase(),
            within_s=STARTS_WITHIN_S,
            alive=[self.process],
        )

    def decided(self) -> dict[str, list[str]]:
        """Whom its ledger gives which addresses, published or not."""
        command = [str(PURELB), "state", "--state-socket", str(self._socket)]
        asked = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        ledger = json.loads(asked.stdout)["view"]["ledger"]
        return {entry["service"]: entry["addresses"] for entry in ledger}


class Replicas:
    """Allocators that are started by name and end with `stop`."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self._plane = plane
        self._directory = directory
        self.running: dict[str, Replica] = {}

    def start(self, name: str, *, server: str | None = None, timing: tuple[str, ...] = SHORT_LEASES) -> Replica:
        """Start one and do not wait. `server`: what it takes for the API server, for a relay."""
        kubeconfig = self._plane.kubeconfig_of_service_account(
            NAMESPACE, "allocator", name=f"allocator-{name}", server=server
        )
        socket = self._directory / f"{name}.sock"
        words = ("--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, "--host", "127.0.0.1", "--port", "0")
        command = [str(PURELB), "allocator", *words, "--state-socket", str(socket), *timing]
        log = self._directory / f"{name}.log"
        said_before = log.stat().st_size if log.exists() else 0
        process = Process(name, command, log=log, environment={"KUBECONFIG": ""})
        credential = credential_in(kubeconfig)
        self.running[name] = Replica(process, credential=credential, socket=socket, said_before=said_before)
        return self.running[name]

    def start_leader_and_standby(self) -> tuple[Replica, Replica]:
        """Two of them, and it is certain which one leads."""
        one = self.start("one")
        one.wait_phase("Running")
        two = self.start("two")
        two.wait_phase("Standby")
        return one, two

    @property
    def processes(self) -> list[Process]:
        return [replica.process for replica in self.running.values()]

    def stop(self) -> None:
        while self.running:
            self.running.popitem()[1].process.stop()
