# SPDX-License-Identifier: Apache-2.0
"""Two allocators on the real API server, one of them killed every few seconds, while two thousand Services come, change and go.

A control plane of its own, without nodes: what is judged is what the API says. The leases are short, so that there is a new
leader between two kills. At the end nobody is killed any more, everybody who may have an address has one, and a third
allocator that starts from nothing finds nothing to write.
"""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from hack import binaries
from hack.processes import wait_until
from tests.conformance.conftest import missing_manifests, unavailable
from tests.conformance.crowd import GROUPS, Judge, Owners, given_twice
from tests.conformance.manifests import Applier
from tests.conformance.replicas import Replicas, remote_group, with_our_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hack.api import Api
    from hack.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(300)

SERVICES = 2000
ACTS_PER_SECOND = 120
KILLED_EVERY_S = 5.0
SHOP = "crowd"


class Killer:
    """Kills one of the replicas and starts it again, as their Deployment would."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._random = random.Random(2)
        self.kills = 0

    def kill_one(self) -> None:
        """Whoever it is, at whatever it does."""
        name = self._random.choice(list(self._replicas.running))
        process = self._replicas.running[name].process
        assert process.kill() == -signal.SIGKILL, f"{name} had ended by itself{process.quote()}"
        self.kills += 1
        self._replicas.start(name)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane with our kinds and roles, two groups of 4,096 addresses, and a namespace for the Services."""
    if why := binaries.missing() or missing_manifests():
        unavailable(why)
    with with_our_kinds(tmp_path / "plane") as running:
        api = running.api()
        applier = Applier(api)
        applier.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}])
        applier.apply(
            remote_group(name, pool, subnet="10.76.0.0/14", priority=number)
            for number, (name, pool) in enumerate(GROUPS.items(), 1)
        )
        api.close()
        yield running


def test_no_address_is_ever_in_two_statuses_while_replicas_are_killed(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    api, replicas = plane.api(), Replicas(plane, tmp_path_factory.mktemp("r"))
    killer = Killer(replicas)
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
                killer.kill_one()
                due = time.monotonic()
            time.sleep(max(0.0, began + number / ACTS_PER_SECOND - time.monotonic()))
        wait_until(
            "everybody who may have an address has one",
            lambda: not (without := _without(api, path, owners)) or f"{len(without)} have none: {without[:5]}",
            within_s=90,
            alive=replicas.processes,
        )
        wait_until("nothing is written any more", lambda: _at_rest(api, path), within_s=60, alive=replicas.processes)
        replicas.stop()
        settled = api.get(path).ok()
        wait_until("the judge has read it all", lambda: judge.failed or _caught_up(judge, settled), within_s=60)
        assert given_twice(settled["items"]) == []
        replicas.start("three").wait_phase("Running")
        time.sleep(2.0)  # the point is that nothing happens
        assert _rewritten(settled, api.get(path).ok()) == []
    finally:
        judge.stop()
        replicas.stop()
        api.close()
    assert judge.failed is None, judge.failed
    assert not judge.broken, "\n".join(judge.broken)
    assert killer.kills >= 5
    assert judge.given >= len(owners.alive)
    assert min(owners.acts.values()) > SERVICES / 10, owners.acts


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


def _at_rest(api: Api, path: str) -> bool:
    before = api.get(path).ok()["metadata"]["resourceVersion"]
    time.sleep(4.0)  # that nobody announces an address is told two seconds after it was given
    after = api.get(path).ok()
    return all(int(item["metadata"]["resourceVersion"]) <= int(before) for item in after["items"])


def _rewritten(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Services that were written. A message that alone differs may be: the allocator before had a minute's time for it."""
    was = {item["metadata"]["name"]: item for item in before["items"]}
    now = {item["metadata"]["name"]: item for item in after["items"]}
    assert now.keys() == was.keys()
    return [
        f"{was[name]}\n{item}"
        for name, item in now.items()
        if item["metadata"]["resourceVersion"] != was[name]["metadata"]["resourceVersion"]
        and (_spoken(item) == _spoken(was[name]) or _meant(item) != _meant(was[name]))
    ]


def _spoken(item: dict[str, Any]) -> list[str]:
    return [entry["message"] for entry in item["status"].get("conditions") or ()]


def _meant(item: dict[str, Any]) -> object:
    """All that a status write says, but for the messages."""
    conditions = [(entry["type"], entry["status"], entry["reason"]) for entry in item["status"].get("conditions") or ()]
    return item["metadata"].get("annotations"), item["status"]["loadBalancer"], conditions
