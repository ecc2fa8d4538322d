# SPDX-License-Identifier: Apache-2.0
"""Two allocators on the real API server, one of them killed every few seconds, while two thousand Services come, change and go.

A control plane of its own, without nodes: what is judged is what the API says. The leases are short, so that there is a new
leader between two kills. At the end nobody is killed any more, everybody who may have an address has one, and a third
allocator that starts from nothing finds nothing to write.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hack import binaries
from hack.control_plane import ControlPlane
from hack.processes import Process, wait_until
from tests.conformance.conftest import REPOSITORY, missing_manifests, unavailable
from tests.conformance.crowd import GROUPS, Judge, Owners, given_twice
from tests.conformance.installation import NAMESPACE, WORKLOADS
from tests.conformance.manifests import Applier, kustomize, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hack.api import Api

pytestmark = pytest.mark.timeout(300)

SERVICES = 2000
ACTS_PER_SECOND = 120
KILLED_EVERY_S = 5.0
LEASES = (
    *("--leader-lease-duration", "4s"),
    *("--leader-renew-deadline", "3s"),
    *("--leader-retry-period", "1s"),
)
SHOP = "crowd"


class Replicas:
    """Two allocators in their restart loop, as a Deployment keeps them."""

    def __init__(self, cluster: ControlPlane, directory: Path) -> None:
        self._kubeconfig = cluster.kubeconfig_of_service_account(NAMESPACE, "allocator")
        self._directory = directory
        self._random = random.Random(2)
        self.running: dict[str, Process] = {}
        self.kills = 0

    def start(self, name: str) -> Process:
        words = ("--kubeconfig", str(self._kubeconfig), "--namespace", NAMESPACE, "--host", "127.0.0.1", "--port", "0")
        purelb = Path(sys.executable).with_name("purelb")
        command = [str(purelb), "allocator", *words, *LEASES]
        log = self._directory / f"{name}.log"
        self.running[name] = Process(name, command, log=log, environment={"KUBECONFIG": ""})
        return self.running[name]

    def kill_one(self) -> None:
        """Whoever it is, at whatever it does."""
        name = self._random.choice(list(self.running))
        assert self.running[name].kill() == -signal.SIGKILL, f"{name} had ended by itself{self.running[name].quote()}"
        self.kills += 1
        self.start(name)

    def stop(self) -> None:
        for process in self.running.values():
            process.stop()
        self.running.clear()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane with our kinds and roles, two groups of 4,096 addresses, and a namespace for the Services."""
    if why := binaries.missing() or missing_manifests():
        unavailable(why)
    with ControlPlane.start(tmp_path / "plane") as running:
        api = running.api()
        with contextlib.closing(api):
            applier = Applier(api)
            applier.apply(read(REPOSITORY / "crds"))
            overlay = kustomize(REPOSITORY / "deploy" / "overlays" / "default")
            applier.apply(body for body in overlay if body["kind"] not in WORKLOADS)
            applier.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}])
            applier.apply(_group(name, pool, priority=number) for number, (name, pool) in enumerate(GROUPS.items(), 1))
        yield running


def test_no_address_is_ever_in_two_statuses_while_replicas_are_killed(plane: ControlPlane, tmp_path: Path) -> None:
    api, replicas = plane.api(), Replicas(plane, tmp_path)
    path = f"/api/v1/namespaces/{SHOP}/services"
    judge = Judge(plane.api(), SHOP, since=api.get(path).ok()["metadata"]["resourceVersion"])
    owners = Owners(api, SHOP, services=SERVICES, seed=1)
    judge.start()
    try:
        replicas.start("one")
        replicas.start("two")
        began = due = time.monotonic()
        for number, _ in enumerate(owners.live()):
            if time.monotonic() >= due + KILLED_EVERY_S:
                replicas.kill_one()
                due = time.monotonic()
            time.sleep(max(0.0, began + number / ACTS_PER_SECOND - time.monotonic()))
        wait_until(
            "everybody who may have an address has one",
            lambda: not (without := _without(api, path, owners)) or f"{len(without)} have none: {without[:5]}",
            within_s=40,
            alive=list(replicas.running.values()),
        )
        replicas.stop()
        settled = api.get(path).ok()
        wait_until("the judge has read it all", lambda: judge.failed or _caught_up(judge, settled), within_s=10)
        assert given_twice(settled["items"]) == []
        before = _revisions(settled)
        third = replicas.start("three")
        wait_until("the third leads", lambda: "ledgerRebuilt" in third.log.read_text(), within_s=20, alive=[third])
        time.sleep(2.0)  # the point is that nothing happens
        assert _revisions(api.get(path).ok()) == before
    finally:
        judge.stop()
        replicas.stop()
        api.close()
    assert judge.failed is None, judge.failed
    assert not judge.broken, "\n".join(judge.broken)
    assert replicas.kills >= 5
    assert judge.given >= len(owners.alive)
    assert min(owners.acts.values()) > SERVICES / 10, owners.acts


def _group(name: str, pool: str, *, priority: int) -> dict[str, Any]:
    entry = {"pool": pool, "subnet": "10.76.0.0/14"}
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "ServiceGroup",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"priority": priority, "remote": {"v4pools": [entry]}},
    }


def _without(api: Api, path: str, owners: Owners) -> list[str]:
    """Services without an address that nothing entitles us to refuse, and those whose status speaks of another generation."""
    services = {item["metadata"]["name"]: item for item in api.get(path).ok()["items"]}
    assert services.keys() == owners.alive.keys()
    return [
        name
        for name, may_be_refused in owners.alive.items()
        if not may_be_refused and not services[name]["status"]["loadBalancer"].get("ingress")
    ]


def _caught_up(judge: Judge, listed: dict[str, Any]) -> bool:
    return judge.last >= max(int(item["metadata"]["resourceVersion"]) for item in listed["items"])


def _revisions(listed: dict[str, Any]) -> dict[str, str]:
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
