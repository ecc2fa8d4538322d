# SPDX-License-Identifier: Apache-2.0
"""A day of somebody who runs a cluster's addresses with kubectl: pools, priorities, quotas, exclusions, fences, racks, drains.

One story on the real API server, with one allocator under its shipped rights and no node: racks come to life as the leases that
agents would hold. Every edit is a line as people type it, and is followed by what they would look at: the status, the condition, what
`kubectl describe` prints. In the end another allocator starts from nothing and finds nothing to write.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from hack import binaries
from hack.processes import wait_until
from tests.conformance.conftest import missing_manifests, unavailable
from tests.conformance.installation import NAMESPACE
from tests.conformance.replicas import SHORT_LEASES, Replicas, remote_group, with_our_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hack.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(240)

OURS_BY_DEFAULT: Final = ("--default-announcer", "PureLB")


class Operator:
    """Somebody at a shell. `team` and `racks` are the namespaces of the story."""

    def __init__(self, plane: ControlPlane) -> None:
        self._kubeconfig = plane.kubeconfig
        self._path = f"{os.environ['PATH']}:{plane.binaries}"
        self.team = f"team-{secrets.token_hex(3)}"
        self.racks = f"racks-{secrets.token_hex(3)}"

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """One line; it has to succeed."""
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig), "PATH": self._path}
        done = subprocess.run(
            ["kubectl", *words], check=False, input=text, capture_output=True, text=True, env=environment, timeout=90
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(objects))

    def patch_group(self, name: str, spec: dict[str, Any]) -> None:
        """Returns once the allocator has seen it: it hears of groups and Services by two watches, which may overtake each other."""
        change = json.dumps({"spec": spec})
        group = ("servicegroup", name, "-n", NAMESPACE, "-o")
        wanted = self.kubectl("patch", *group, "jsonpath={.metadata.generation}", "--type=merge", "-p", change)

        def probe() -> object:
            seen = self.kubectl("get", *group, "jsonpath={.status.observedGeneration}")
            return seen == wanted or seen

        wait_until(f"the allocator has seen generation {wanted} of {name}", probe, within_s=60)

    def serve(self, namespace: str, name: str, *, port: int = 80) -> None:
        self.kubectl("create", "service", "loadbalancer", name, f"--tcp={port}", "-n", namespace)

    def patch_service(self, namespace: str, name: str, change: dict[str, Any], *more: str) -> None:
        words = ("service", name, "-n", namespace, "--type=merge", "-p", json.dumps(change))
        self.kubectl("patch", *words, *more)

    def annotate(self, namespace: str, name: str, *words: str) -> None:
        self.kubectl("annotate", "service", name, "-n", namespace, "--overwrite", *words)

    def addresses(self, namespace: str) -> dict[str, list[str]]:
        items = json.loads(self.kubectl("get", "services", "-n", namespace, "-o", "json"))["items"]
        return {
            item["metadata"]["name"]: [entry["ip"] for entry in item["status"]["loadBalancer"].get("ingress") or ()]
            for item in items
        }

    def has(self, namespace: str, name: str, *wanted: str) -> None:
        """Wait until the Service has exactly these addresses, in this order."""
        path = "{.status.loadBalancer.ingress[*].ip}"

        def probe() -> object:
            seen = self.kubectl("get", "service", name, "-n", namespace, "-o", f"jsonpath={path}").split()
            return seen == list(wanted) or seen

        wait_until(f"{name} has {wanted}", probe, within_s=60)

    def told(self, namespace: str, name: str, reason: str) -> str:
        """Wait until `Allocated` has this reason; its message."""
        condition = '{.status.conditions[?(@.type=="purelb.io/Allocated")]%s}'
        path = f"jsonpath={condition % '.reason'} {condition % '.message'}"
        said: list[str] = []

        def probe() -> object:
            seen = self.kubectl("get", "service", name, "-n", namespace, "-o", path)
            said[:] = [seen.partition(" ")[2]]
            return seen.partition(" ")[0] == reason or seen

        wait_until(f"{name} says {reason}", probe, within_s=60)
        return said[0]

    def described(self, what: str, namespace: str, *patterns: str) -> None:
        """Wait until `kubectl describe` prints all of this. Blanks are any white space, as it aligns its columns."""

        def probe() -> object:
            text = self.kubectl("describe", what, "-n", namespace)
            missing = [each for each in patterns if not re.search(each.replace(" ", r"\s+"), text)]
            return not missing or f"{missing} not in:\n{text}"

        wait_until(f"describe {what} prints it", probe, within_s=60)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    if why := binaries.missing() or missing_manifests():
        unavailable(why)
    with with_our_kinds(tmp_path / "plane") as running:
        yield running


@pytest.fixture
def replicas(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    made = Replicas(plane, tmp_path_factory.mktemp("r"))
    made.start("one", timing=(*SHORT_LEASES, *OURS_BY_DEFAULT)).wait_phase("Running")
    yield made
    made.stop()


@pytest.fixture
def operator(plane: ControlPlane) -> Operator:
    made = Operator(plane)
    for name in (made.team, made.racks):
        made.kubectl("create", "namespace", name)
    return made


def rack_lease(number: int) -> dict[str, Any]:
    """What the agent of a node in a rack keeps renewing; here one renewal lasts for the day."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": f"purelb-node-r{number}",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "purelb", "app.kubernetes.io/component": "lbnodeagent"},
            "annotations": {"purelb.io/subnets": f"10.91.{number}.0/24"},
        },
        "spec": {"holderIdentity": f"r{number}", "leaseDurationSeconds": 3600},
    }


def test_a_day_of_an_operator_with_several_pools(operator: Operator, replicas: Replicas) -> None:
    pools_are_filled_by_priority_and_without_one_nothing_spills_over(operator)
    a_quota_is_told_and_raised(operator)
    an_excluded_address_is_refused_and_given_once_it_is_not(operator)
    a_pool_that_shrinks_takes_nothing_away(operator)
    a_status_that_somebody_edits_is_put_back(operator)
    a_released_address_rests_for_all_but_its_former_service(operator)
    a_key_is_shared_port_by_port(operator)
    each_policy_of_two_families_gets_what_it_says(operator)
    a_fence_and_an_overlap_are_told(operator)
    a_service_grows_over_the_racks_that_come_to_life(operator)
    a_drained_group_hands_out_nothing_new(operator)
    the_next_allocator_finds_nothing_to_write(operator, replicas)


def pools_are_filled_by_priority_and_without_one_nothing_spills_over(operator: Operator) -> None:
    team = operator.team
    first = remote_group("first", "10.90.1.1-10.90.1.2", subnet="10.90.1.0/24", namespaces=[team], priority=10)
    (entry,) = first["spec"]["remote"]["v4pools"]
    entry["exclude"] = ["10.90.1.1"]
    first["spec"]["remote"]["v4pools"].append({"pool": "10.90.2.1/32", "subnet": "10.90.2.0/24"})
    second = remote_group("second", "10.90.3.1-10.90.3.2", subnet="10.90.3.0/24", namespaces=[team], priority=20)
    third = remote_group("third", "10.90.4.1-10.90.4.9", subnet="10.90.4.0/24", namespaces=[team])
    operator.apply(first, second, third)
    for name, address in (("a", "10.90.1.2"), ("b", "10.90.2.1"), ("c", "10.90.3.1"), ("d", "10.90.3.2")):
        operator.serve(team, name)
        operator.has(team, name, address)
    operator.serve(team, "e")
    message = operator.told(team, "e", "PoolExhausted")
    assert re.search(r"first: .*2 of 2 IPv4.*; second: .*2 of 2 IPv4", message), message
    assert message.endswith("; not tried for want of a priority: third"), "nobody said that one may spill over into it"
    operator.described("service/e", team, "Warning PoolExhausted .* purelb-allocator first: ")
    operator.described("servicegroup/first", NAMESPACE, "Reason: Accepted", "allocatedIPv4: 2", "availableIPv4: 0")
    operator.patch_group("third", {"priority": 30})
    operator.has(team, "e", "10.90.4.1")
    operator.told(team, "e", "AddressAssigned")
    operator.described("service/e", team, "purelb.io/allocated-from: third", "Normal AddressAssigned ")


def a_quota_is_told_and_raised(operator: Operator) -> None:
    team = operator.team
    operator.patch_group("third", {"quotaPerNamespace": 1})
    operator.serve(team, "f")
    assert "third: QuotaExceeded" in operator.told(team, "f", "PoolExhausted")
    operator.annotate(team, "f", "purelb.io/service-group=third")
    assert operator.told(team, "f", "QuotaExceeded") == f"third: namespace {team} holds 1 of 1 IPv4 addresses"
    operator.patch_group("third", {"quotaPerNamespace": None})
    operator.has(team, "f", "10.90.4.2")


def an_excluded_address_is_refused_and_given_once_it_is_not(operator: Operator) -> None:
    team = operator.team
    operator.annotate(team, "a", "purelb.io/addresses=10.90.1.1")
    assert operator.told(team, "a", "AddressReserved") == "10.90.1.1 is excluded by first; keeps 10.90.1.2"
    operator.has(team, "a", "10.90.1.2")
    removed = '[{"op": "remove", "path": "/spec/remote/v4pools/0/exclude"}]'
    operator.kubectl("patch", "servicegroup", "first", "-n", NAMESPACE, "--type=json", "-p", removed)
    operator.has(team, "a", "10.90.1.1")
    operator.told(team, "a", "AddressAssigned")
    operator.annotate(team, "a", "purelb.io/addresses-")
    operator.described("service/a", team, "purelb.io/allocated-wish: any")
    operator.has(team, "a", "10.90.1.1")


def a_pool_that_shrinks_takes_nothing_away(operator: Operator) -> None:
    team = operator.team
    before = operator.addresses(team)
    operator.patch_group("third", {"remote": {"v4pools": [{"pool": "10.90.4.8/31", "subnet": "10.90.4.0/24"}]}})
    for name in ("e", "f"):
        address = before[name][0]
        assert operator.told(team, name, "AddressKept") == f"{address}; no ServiceGroup contains {address} any more"
    assert operator.addresses(team) == before
    operator.annotate(team, "e", "purelb.io/re-evaluate=true")
    operator.has(team, "e", "10.90.1.2")
    operator.told(team, "e", "AddressAssigned")
    notes = operator.kubectl("get", "service", "e", "-n", team, "-o", "jsonpath={.metadata.annotations}")
    assert "re-evaluate" not in notes
    operator.patch_group("third", {"remote": {"v4pools": [{"pool": "10.90.4.1-10.90.4.9", "subnet": "10.90.4.0/24"}]}})
    operator.told(team, "f", "AddressAssigned")
    assert operator.addresses(team) == {**before, "e": ["10.90.1.2"]}


def a_status_that_somebody_edits_is_put_back(operator: Operator) -> None:
    team = operator.team
    before = operator.addresses(team)
    for ingress in ([], [{"ip": "203.0.113.9"}], [{"ip": before["b"][0]}]):
        edited = {"status": {"loadBalancer": {"ingress": ingress}}}
        operator.patch_service(team, "a", edited, "--subresource=status")
        operator.has(team, "a", *before["a"])
    operator.described("service/a", team, "Warning StatusRestored ")
    operator.annotate(team, "a", "purelb.io/allocated-from=nonsense")
    operator.described("service/a", team, "purelb.io/allocated-from: first")
    assert operator.addresses(team) == before


def a_released_address_rests_for_all_but_its_former_service(operator: Operator) -> None:
    team = operator.team
    operator.patch_group("second", {"reuseDelay": "1h"})
    operator.kubectl("delete", "service", "d", "-n", team)
    operator.described("servicegroup/second", NAMESPACE, "quarantinedIPv4: 1")
    operator.serve(team, "other")
    operator.annotate(team, "other", "purelb.io/service-group=second")
    assert "1 quarantined" in operator.told(team, "other", "PoolExhausted")
    operator.serve(team, "d")
    operator.has(team, "d", "10.90.3.2")
    operator.kubectl("delete", "service", "other", "-n", team)


def a_key_is_shared_port_by_port(operator: Operator) -> None:
    team = operator.team
    for name, port in (("k1", 80), ("k2", 443), ("k3", 443)):
        words = [f"--tcp={port}", "--dry-run=client", "-o", "yaml"]
        body = yaml.safe_load(operator.kubectl("create", "service", "loadbalancer", name, "-n", team, *words))
        body["metadata"]["annotations"] = {
            "purelb.io/allow-shared-ip": "together",
            "purelb.io/service-group": "third",
        }
        operator.apply(body)
    for name in ("k1", "k2"):
        operator.has(team, name, "10.90.4.1")
    message = operator.told(team, "k3", "SharingPortClash")
    assert message.endswith(f"TCP/443 on 10.90.4.1 is taken by {team}/k2"), message
    operator.kubectl("delete", "service", "k2", "-n", team)
    operator.has(team, "k3", "10.90.4.1")


def each_policy_of_two_families_gets_what_it_says(operator: Operator) -> None:
    team = operator.team
    operator.apply(remote_group("both", "10.90.6.1-10.90.6.9", subnet="10.90.6.0/24"))
    for name, policy in (("one", "SingleStack"), ("prefers", "PreferDualStack"), ("needs", "RequireDualStack")):
        families = ["IPv4"] if name == "one" else ["IPv4", "IPv6"]
        operator.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": team, "annotations": {"purelb.io/service-group": "both"}},
                "spec": {
                    "type": "LoadBalancer",
                    "ipFamilyPolicy": policy,
                    "ipFamilies": families,
                    "ports": [{"port": 80}],
                },
            }
        )
    operator.told(team, "one", "AddressAssigned")
    assert "missing IPv6" in operator.told(team, "prefers", "AddressAssignedPartially")
    assert operator.told(team, "needs", "FamilyUnavailable") == "both has no IPv6 addresses"
    before = operator.addresses(team)
    assert (len(before["one"]), len(before["prefers"]), before["needs"]) == (1, 1, [])
    operator.patch_group("both", {"remote": {"v6pools": [{"pool": "fd00:90::1-fd00:90::9", "subnet": "fd00:90::/64"}]}})
    operator.told(team, "prefers", "AddressAssigned")
    operator.told(team, "needs", "AddressAssigned")
    after = operator.addresses(team)
    assert (after["one"], after["prefers"][:1]) == (before["one"], before["prefers"])
    assert [len(after[name]) for name in ("one", "prefers", "needs")] == [1, 2, 2]
    operator.patch_service(team, "prefers", {"spec": {"ipFamilyPolicy": "SingleStack"}})
    operator.has(team, "prefers", *before["prefers"])
    operator.described("service/prefers", team, "Normal AddressReleased ")


def a_fence_and_an_overlap_are_told(operator: Operator) -> None:
    operator.patch_group("second", {"enforceNamespaces": True})
    operator.serve(operator.racks, "guest")
    operator.annotate(operator.racks, "guest", "purelb.io/service-group=second")
    message = operator.told(operator.racks, "guest", "NamespaceDenied")
    assert message == f"second does not serve namespace {operator.racks}"
    operator.kubectl("delete", "service", "guest", "-n", operator.racks)
    operator.apply(remote_group("greedy", "10.90.3.2-10.90.3.9", subnet="10.90.3.0/24"))
    operator.described("servicegroup/greedy", NAMESPACE, "Message: shares 10.90.3.2 .*with second", "Reason: Overlap")
    operator.kubectl("delete", "servicegroup", "greedy", "-n", NAMESPACE)


def a_service_grows_over_the_racks_that_come_to_life(operator: Operator) -> None:
    entries = [{"pool": f"10.91.{number}.10-10.91.{number}.19", "subnet": f"10.91.{number}.0/24"} for number in (1, 2)]
    entries[0]["exclude"] = ["10.91.1.10-10.91.1.11"]  # type: ignore[assignment]
    spec = {
        "namespaceSelector": {"matchLabels": {"racks": "mine"}},
        "quotaPerNamespace": 3,
        "local": {"multiPool": True, "v4pools": entries},
    }
    group = remote_group("racks", subnet="")
    operator.apply({**group, "spec": spec})
    operator.serve(operator.racks, "wide")
    operator.told(operator.racks, "wide", "NoMatchingGroup")
    operator.kubectl("label", "namespace", operator.racks, "racks=mine")
    message = operator.told(operator.racks, "wide", "NoActiveSubnet")
    assert message == "racks: no live node advertises any of 10.91.1.0/24, 10.91.2.0/24"
    operator.apply(rack_lease(1))
    operator.has(operator.racks, "wide", "10.91.1.12")
    assert "missing 10.91.2.0/24" in operator.told(operator.racks, "wide", "AddressAssignedPartially")
    operator.apply(rack_lease(2))
    operator.has(operator.racks, "wide", "10.91.1.12", "10.91.2.10")
    operator.told(operator.racks, "wide", "AddressAssigned")
    operator.serve(operator.racks, "narrow")
    operator.has(operator.racks, "narrow", "10.91.1.13")
    assert "QuotaExceeded" in operator.told(operator.racks, "narrow", "AddressAssignedPartially")
    operator.patch_group("racks", {"quotaPerNamespace": 4})
    operator.has(operator.racks, "narrow", "10.91.1.13", "10.91.2.11")
    operator.described("servicegroup/racks", NAMESPACE, f"Bound Namespaces: {operator.racks}", "allocatedIPv4: 4")


def a_drained_group_hands_out_nothing_new(operator: Operator) -> None:
    before = operator.addresses(operator.racks)
    operator.patch_group("racks", {"drain": True, "quotaPerNamespace": None})
    operator.described("servicegroup/racks", NAMESPACE, "Reason: Draining")
    operator.serve(operator.racks, "late")
    assert operator.told(operator.racks, "late", "GroupDraining") == "racks hands out no new addresses"
    assert operator.addresses(operator.racks) == {**before, "late": []}
    operator.patch_group("racks", {"drain": None})
    operator.has(operator.racks, "late", "10.91.1.14", "10.91.2.12")


def the_next_allocator_finds_nothing_to_write(operator: Operator, replicas: Replicas) -> None:
    def versions() -> dict[str, str]:
        items = json.loads(operator.kubectl("get", "services,servicegroups", "-A", "-o", "json"))["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}

    def at_rest() -> object:
        before = versions()
        time.sleep(4.0)  # the status of a group may follow a second later, and that nobody announces an address two
        return versions() == before

    wait_until("nothing is written any more", at_rest, within_s=60)
    before = versions()
    replicas.stop()
    replicas.start("one", timing=(*SHORT_LEASES, *OURS_BY_DEFAULT)).wait_phase("Running")
    time.sleep(3.0)  # the point is that nothing happens
    assert versions() == before
