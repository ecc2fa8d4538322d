# SPDX-License-Identifier: Apache-2.0
"""What an operator reads at the API: annotations, reports, leases, Events and the status of the configuration.

Each sentence is compared with the kernels, which are the truth that all of these tell about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hack.processes import wait_until
from tests.conformance.installation import NAMESPACE
from tests.conformance.test_stories import create

if TYPE_CHECKING:
    from tests.conformance.installation import Installation
    from tests.conformance.manifests import Object

pytestmark = pytest.mark.timeout(120)

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
REPORTS = f"/apis/purelb.io/v2/namespaces/{NAMESPACE}/lbnodestatuses"
GROUPS = f"/apis/purelb.io/v2/namespaces/{NAMESPACE}/servicegroups"
AGENTS = f"/apis/purelb.io/v2/namespaces/{NAMESPACE}/lbnodeagents"


def events(installed: Installation, namespace: str, about: str) -> list[tuple[str, str, str]]:
    """(reportingController, type, reason) of each Event of ours about an object; controllers may have more to tell."""
    items = installed.api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events").ok()["items"]
    return [
        (event["reportingController"], event["type"], event["reason"])
        for event in items
        if event["regarding"]["name"] == about and event["reportingController"].startswith("purelb")
    ]


def ready(body: Object) -> tuple[str, str] | None:
    """(status, reason) of the condition Ready."""
    for entry in body.get("status", {}).get("conditions") or ():
        if entry["type"] == "Ready":
            return entry["status"], entry["reason"]
    return None


def test_a_service_says_where_its_address_is_from_and_who_announces_it(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web")
    (address,) = installed.wait_addresses(namespace, "web")
    holder = installed.wait_one_holder(address)
    message = installed.wait_condition(namespace, "web", "purelb.io/Announced", "True", "AnnouncingLocal")
    assert message == f"{address} by {holder.node} on eth0"
    service = installed.service(namespace, "web")
    expected = {
        "purelb.io/allocated-by": "PureLB",
        "purelb.io/allocated-from": "default",
        "purelb.io/pool-type": "local",
        "purelb.io/announcing-IPv4": f"{holder.node},eth0,{address}",
        "purelb.io/allocated-wish": "any",
    }
    assert service["metadata"]["annotations"] == expected
    assert service["status"]["loadBalancer"] == {"ingress": [{"ip": address, "ipMode": "VIP"}]}


def test_a_service_without_addresses_of_ours_is_never_touched(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "foreign", loadBalancerClass="example.org/other")
    path = f"/api/v1/namespaces/{namespace}/services/foreign/status"
    installed.api.patch(path, {"status": {"loadBalancer": {"ingress": [{"ip": "172.30.1.222"}]}}}).ok()
    before = installed.service(namespace, "foreign")
    create(installed, namespace, "ours")
    (address,) = installed.wait_addresses(namespace, "ours")
    installed.wait_one_holder(address)
    assert installed.service(namespace, "foreign") == before
    assert installed.holders("172.30.1.222") == []


def test_the_events_of_a_service_tell_its_story(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web")
    expected = [
        ("purelb-allocator", "Normal", "AddressAssigned"),
        ("purelb-allocator", "Normal", "AnnouncingLocal"),
    ]

    def told() -> object:
        seen = sorted(events(installed, namespace, "web"))
        return seen == expected or seen

    wait_until("both Events are there, once", told, within_s=30)


def test_a_refusal_is_an_event_as_well(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web", annotations={"purelb.io/service-group": "nowhere"})

    def told() -> object:
        seen = events(installed, namespace, "web")
        return seen == [("purelb-allocator", "Warning", "UnknownGroup")] or seen

    wait_until("the Event is there, once", told, within_s=30)


def test_every_agent_has_a_lease_and_a_report_that_end_with_its_node(installed: Installation) -> None:
    for site in installed.topology.nodes:

        def reported(name: str = site.name) -> object:
            answer = installed.api.get(f"{REPORTS}/{name}")
            return answer.status == 200 or answer

        wait_until(f"{site.name} has reported", reported, within_s=30)
        uid = installed.api.get(f"/api/v1/nodes/{site.name}").ok()["metadata"]["uid"]
        for path in (f"{LEASES}/purelb-node-{site.name}", f"{REPORTS}/{site.name}"):
            body = installed.api.get(path).ok()
            owners = [(owner["kind"], owner["name"], owner["uid"]) for owner in body["metadata"]["ownerReferences"]]
            assert owners == [("Node", site.name, uid)], path

        def leased(name: str = site.name) -> object:
            """Its subnets come with the renewal after the interface has been up for long enough."""
            lease = installed.api.get(f"{LEASES}/purelb-node-{name}").ok()
            seen = lease["spec"]["holderIdentity"], lease["metadata"]["annotations"].get("purelb.io/subnets")
            return seen == (name, "172.30.1.0/24,fd00:30:1::/64") or seen

        wait_until(f"the lease of {site.name} says its subnets", leased, within_s=30)


def test_the_reports_list_what_the_kernels_have(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
    addresses = installed.wait_addresses(namespace, "web", count=2)
    holders = {address: installed.wait_one_holder(address).node for address in addresses}

    def reported() -> object:
        seen = {
            entry["ip"]: body["metadata"]["name"]
            for body in installed.api.get(REPORTS).ok()["items"]
            for entry in body["status"].get("announced") or ()
            if f"{namespace}/web" in entry["services"]
        }
        return seen == holders or seen

    wait_until("the reports say what the kernels have", reported, within_s=30)


def test_the_group_says_that_it_is_in_use_and_how_full_it_is(installed: Installation, namespace: str) -> None:
    create(installed, namespace, "web")
    (address,) = installed.wait_addresses(namespace, "web")

    def counted() -> object:
        body = installed.api.get(f"{GROUPS}/default").ok()
        held = {
            entry["ip"]
            for item in installed.api.get("/api/v1/services").ok()["items"]
            for entry in item["status"]["loadBalancer"].get("ingress", ())
            if item["metadata"].get("annotations", {}).get("purelb.io/allocated-from") == "default"
            and "." in entry["ip"]
        }
        seen = (ready(body), body.get("status", {}).get("allocatedIPv4"), address in held)
        return seen == (("True", "Accepted"), len(held), True) or (seen, held)

    wait_until("the group is Ready and counts what is held", counted, within_s=30)


def test_a_group_with_an_unreadable_range_says_so_and_the_others_go_on(installed: Installation, namespace: str) -> None:
    with installed.group("broken", v4="172.30.1.249-172.30.1.240"):

        def refused() -> object:
            seen = ready(installed.api.get(f"{GROUPS}/broken").ok())
            return seen == ("False", "InvalidSpec") or seen

        wait_until("the group is refused", refused, within_s=30)
        create(installed, namespace, "there", annotations={"purelb.io/service-group": "broken"})
        message = installed.wait_condition(namespace, "there", "purelb.io/Allocated", "False", "GroupNotReady")
        assert "172.30.1.249-172.30.1.240" in message
        create(installed, namespace, "here")
        installed.wait_addresses(namespace, "here")


def test_the_configuration_of_the_agents_says_how_many_nodes_use_it_and_one_that_nobody_uses_why(
    installed: Installation,
) -> None:
    shadowed = {
        "apiVersion": "purelb.io/v2",
        "kind": "LBNodeAgent",
        "metadata": {"name": "shadowed", "namespace": NAMESPACE},
        "spec": {"local": {"localInterface": "default"}},
    }

    nodes = len(installed.topology.nodes)
    expected = {"default": (nodes, ("True", "Applied")), "shadowed": (0, ("False", "ConfigIgnored"))}

    def said() -> object:
        bodies = {name: installed.api.get(f"{AGENTS}/{name}").ok() for name in expected}
        seen = {name: (body.get("status", {}).get("nodes"), ready(body)) for name, body in bodies.items()}
        return seen == expected or seen

    installed.applier.apply([shadowed])
    try:
        wait_until("each LBNodeAgent says who uses it", said, within_s=30)
    finally:
        installed.api.delete(installed.applier.path(shadowed)).ok()
