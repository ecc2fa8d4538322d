# SPDX-License-Identifier: Apache-2.0
"""What PureLB is for, on the real control plane: a Service gets an address, the address answers, and it stays through trouble.

Allocator and agents are the shipped processes under their ServiceAccounts' tokens; addresses are read from the kernels and
HTTP comes from a client on the LAN. Each story makes its own Services and leaves every process running as it found it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from hack.processes import wait_until
from tests.conformance.installation import BACKEND_PORT

if TYPE_CHECKING:
    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(180)

ALLOCATED = "purelb.io/Allocated"
ANNOUNCED = "purelb.io/Announced"


def create(
    installed: Installation,
    namespace: str,
    name: str,
    *,
    port: int = 80,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> None:
    """A LoadBalancer Service in front of the namespace's backends."""
    ports = [{"name": "http", "port": port, "targetPort": BACKEND_PORT, "protocol": "TCP"}]
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports, **spec},
    }
    installed.api.post(f"/api/v1/namespaces/{namespace}/services", body).ok()


DUAL: Any = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}


@pytest.fixture
def backends(installed: Installation, namespace: str) -> str:
    """The namespace, with a ready backend on every node."""
    installed.start_backends(namespace, "web")
    return namespace


def test_an_ipv4_a_dual_stack_and_two_sharing_services_get_addresses_that_answer(
    installed: Installation, backends: str
) -> None:
    sharing = {"purelb.io/allow-shared-ip": "together"}
    create(installed, backends, "four")
    create(installed, backends, "dual", **DUAL)
    create(installed, backends, "first", port=80, annotations=sharing)
    create(installed, backends, "second", port=81, annotations=sharing)

    (four,) = installed.wait_addresses(backends, "four")
    dual = installed.wait_addresses(backends, "dual", count=2)
    (shared,) = installed.wait_addresses(backends, "first")
    assert installed.wait_addresses(backends, "second") == (shared,)
    assert ["." in address for address in dual] == [True, False], "addresses stand in the order of ipFamilies"
    assert len({four, *dual, shared}) == 4

    for address, port in ((four, 80), (dual[0], 80), (dual[1], 80), (shared, 80), (shared, 81)):
        installed.wait_one_holder(address)
        assert installed.wait_answer(address, port) in {site.name for site in installed.topology.nodes}
    for name in ("four", "dual", "first", "second"):
        installed.wait_condition(backends, name, ALLOCATED, "True", "AddressAssigned")
        installed.wait_condition(backends, name, ANNOUNCED, "True", "AnnouncingLocal")


def test_a_status_that_needs_no_change_is_not_written_again(installed: Installation, backends: str) -> None:
    create(installed, backends, "web")
    (address,) = installed.wait_addresses(backends, "web")
    installed.wait_one_holder(address)
    installed.wait_condition(backends, "web", ANNOUNCED, "True", "AnnouncingLocal")
    before = installed.service(backends, "web")
    create(installed, backends, "neighbour")  # goes through the same queue, so what was due for `web` is done by then
    installed.wait_addresses(backends, "neighbour")
    installed.wait_condition(backends, "neighbour", ANNOUNCED, "True", "AnnouncingLocal")
    assert installed.service(backends, "web") == before


def test_the_address_moves_when_its_holder_is_told_to_stop(installed: Installation, backends: str) -> None:
    create(installed, backends, "web")
    (address,) = installed.wait_addresses(backends, "web")
    holder = installed.wait_one_holder(address)
    installed.wait_answer(address, 80)
    others = [site.name for site in installed.topology.nodes if site.name != holder.node]
    agent = installed.components[f"agent-{holder.node}"]
    try:
        assert agent.stop(grace_s=30) == 0, agent.quote()
        installed.wait_one_holder(address, among=others)
        installed.wait_answer(address, 80)
        assert installed.addresses(backends, "web") == (address,)
    finally:
        installed.start_agent(next(site for site in installed.topology.nodes if site.name == holder.node))
        installed.wait_ready(f"agent-{holder.node}")


def test_an_address_that_is_given_anew_right_after_its_move_finds_a_holder(
    installed: Installation, backends: str
) -> None:
    wanted = {"purelb.io/addresses": "172.30.1.225"}
    create(installed, backends, "old", annotations=wanted)
    installed.wait_addresses(backends, "old")
    home = installed.wait_one_holder("172.30.1.225").node
    assert installed.components[f"agent-{home}"].stop(grace_s=30) == 0

    def heir() -> object:
        found = installed.api.get(f"/api/v1/namespaces/{backends}/services/old").ok()["metadata"]["annotations"]
        said = found.get("purelb.io/announcing-IPv4", "")
        return bool(said and not said.startswith(f"{home},")) or said

    # An heir that has just started itself reports a second later: until then the node that comes back reads that it is the holder.
    wait_until("the Service names the heir", heir, within_s=30)
    installed.start_agent(next(site for site in installed.topology.nodes if site.name == home))
    installed.wait_ready(f"agent-{home}")
    assert installed.wait_one_holder("172.30.1.225").node != home, "the node that came back has to wait its 30 seconds"
    installed.api.delete(f"/api/v1/namespaces/{backends}/services/old").ok()
    create(installed, backends, "new", annotations=wanted)
    assert installed.wait_addresses(backends, "new") == ("172.30.1.225",)
    installed.wait_one_holder("172.30.1.225", within_s=20)  # less than the 30 seconds of whoever came back
    installed.wait_answer("172.30.1.225", 80)


def test_a_killed_agent_that_comes_back_has_lost_and_moved_nothing(installed: Installation, backends: str) -> None:
    create(installed, backends, "web", **DUAL)
    addresses = installed.wait_addresses(backends, "web", count=2)
    before = {address: installed.wait_one_holder(address) for address in addresses}
    for victim in sorted({holder.node for holder in before.values()}):
        installed.components[f"agent-{victim}"].kill()
        assert {address: installed.holders(address) for address in addresses} == {a: [h] for a, h in before.items()}
        installed.wait_answer(addresses[0], 80)
        installed.start_agent(next(site for site in installed.topology.nodes if site.name == victim))
        installed.wait_ready(f"agent-{victim}")
        assert {address: installed.holders(address) for address in addresses} == {a: [h] for a, h in before.items()}
        installed.wait_answer(addresses[0], 80)


def test_a_killed_allocator_that_comes_back_keeps_every_address_and_gives_none_twice(
    installed: Installation, backends: str
) -> None:
    names = [f"web-{number}" for number in range(4)]
    for name in names:
        create(installed, backends, name)
    before = {name: installed.wait_addresses(backends, name) for name in names}
    installed.components["allocator"].kill()
    try:
        create(installed, backends, "meanwhile")
        for (address,) in before.values():
            installed.wait_one_holder(address)
    finally:
        installed.start_allocator()
        installed.wait_ready("allocator")
    # A killed leader's lease has to run out before the next one leads.
    installed.wait_condition(backends, "meanwhile", ALLOCATED, "True", "AddressAssigned", within_s=40)
    given = installed.addresses(backends, "meanwhile")
    assert {name: installed.addresses(backends, name) for name in names} == before
    assert given not in before.values()


@pytest.mark.timeout(300)
def test_an_outage_of_the_api_server_longer_than_a_lease_takes_no_address_away(
    installed: Installation, backends: str
) -> None:
    create(installed, backends, "web")
    (address,) = installed.wait_addresses(backends, "web")
    before = installed.wait_one_holder(address)
    installed.wait_answer(address, 80)
    installed.cluster.kill_api_server()
    try:
        until = time.monotonic() + 12  # longer than the agents' leases
        while time.monotonic() < until:
            installed.fetch(address, 80)
            assert installed.holders(address) == [before]
            time.sleep(0.1)
    finally:
        installed.cluster.start_api_server()
    installed.wait_at_work()
    assert installed.addresses(backends, "web") == (address,)
    create(installed, backends, "after")
    installed.wait_condition(backends, "after", ALLOCATED, "True", "AddressAssigned")
    (later,) = installed.addresses(backends, "after")
    installed.wait_one_holder(later)
    assert installed.holders(address) == [before]


def test_a_deleted_service_gives_its_address_back(installed: Installation, backends: str) -> None:
    wanted = {"purelb.io/addresses": "172.30.1.229"}
    create(installed, backends, "old", annotations=wanted)
    assert installed.wait_addresses(backends, "old") == ("172.30.1.229",)
    installed.wait_one_holder("172.30.1.229")
    installed.api.delete(f"/api/v1/namespaces/{backends}/services/old").ok()
    wait_until("no node has 172.30.1.229", lambda: installed.holders("172.30.1.229") == [], within_s=30)
    create(installed, backends, "new", annotations=wanted)
    assert installed.wait_addresses(backends, "new") == ("172.30.1.229",)


def test_an_unknown_group_is_named_and_its_creation_is_enough(installed: Installation, backends: str) -> None:
    create(installed, backends, "web", annotations={"purelb.io/service-group": "later"})
    message = installed.wait_condition(backends, "web", ALLOCATED, "False", "UnknownGroup")
    assert message == 'ServiceGroup "later" does not exist in namespace purelb-system'
    assert installed.addresses(backends, "web") == ()
    with installed.group("later", v4="172.30.1.232"):
        assert installed.wait_addresses(backends, "web") == ("172.30.1.232",)
        installed.api.delete(f"/api/v1/namespaces/{backends}/services/web").ok()
        wait_until("172.30.1.232 is gone", lambda: installed.holders("172.30.1.232") == [], within_s=30)


def test_a_full_pool_says_so_with_its_numbers_and_serves_the_next_when_one_leaves(
    installed: Installation, backends: str
) -> None:
    with installed.group("tiny", v4="172.30.1.231"):
        in_tiny = {"purelb.io/service-group": "tiny"}
        create(installed, backends, "first", annotations=in_tiny)
        assert installed.wait_addresses(backends, "first") == ("172.30.1.231",)
        create(installed, backends, "second", annotations=in_tiny)
        message = installed.wait_condition(backends, "second", ALLOCATED, "False", "PoolExhausted")
        assert "tiny: 1 of 1 IPv4 addresses in use" in message
        installed.api.delete(f"/api/v1/namespaces/{backends}/services/first").ok()
        assert installed.wait_addresses(backends, "second") == ("172.30.1.231",)
        installed.api.delete(f"/api/v1/namespaces/{backends}/services/second").ok()
        wait_until("172.30.1.231 is gone", lambda: installed.holders("172.30.1.231") == [], within_s=30)


def test_a_taken_address_is_refused_with_its_holders_name(installed: Installation, backends: str) -> None:
    wanted = {"purelb.io/addresses": "172.30.1.228"}
    create(installed, backends, "first", annotations=wanted)
    installed.wait_addresses(backends, "first")
    create(installed, backends, "second", annotations=wanted)
    message = installed.wait_condition(backends, "second", ALLOCATED, "False", "InUse")
    assert message == f"172.30.1.228 is held by {backends}/first without a sharing key"
    assert installed.addresses(backends, "second") == ()


@pytest.mark.parametrize(
    ("annotations", "reason", "said"),
    [
        ({"purelb.io/addresses": "198.51.100.1"}, "NotInAnyPool", "198.51.100.1 is in no ServiceGroup"),
        ({"purelb.io/addresses": "172.30.1.999"}, "InvalidRequest", "172.30.1.999"),
    ],
    ids=["an address of no pool", "text that is no address"],
)
def test_a_request_that_cannot_be_met_is_answered_with_its_reason(
    installed: Installation, backends: str, annotations: dict[str, str], reason: str, said: str
) -> None:
    create(installed, backends, "web", annotations=annotations)
    assert said in installed.wait_condition(backends, "web", ALLOCATED, "False", reason)
    assert installed.addresses(backends, "web") == ()
    create(installed, backends, "neighbour")
    installed.wait_addresses(backends, "neighbour")
