# SPDX-License-Identifier: Apache-2.0
"""Objects that no API server should let through, and some that it would: refused or served with a reason, and the neighbour is served.

Played in the theatre, because the embedded API server would refuse most of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from purelb.allocator.observed import condition, published
from purelb.api import leases, reasons
from purelb.api.kinds import Announced, InterfaceReport, LBNodeStatus, NodeReport, RemoteReport, Withheld
from purelb.kube.model import Lease, LeaseSpec, ObjectMeta, ServicePort
from tests.allocator.objects import INSTALL, group, service, v4
from tests.allocator.theatre import Theatre

LONG = "x" * 1_000_000
CLASS: dict[str, Any] = {"load_balancer_class": "purelb.io/purelb"}


def world() -> Theatre:
    made = Theatre(0)
    made.put("groups", group("default", v4("192.0.2.10-192.0.2.19")))
    made.begin()
    return made


def ports(*numbers: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"ports": tuple(ServicePort(protocol=protocol, port=number) for number in numbers)}


@pytest.mark.parametrize(
    ("spec", "noted", "reason"),
    [
        pytest.param(ports(*range(10_000)), {}, "AddressAssigned", id="ten thousand ports"),
        pytest.param(ports(0, 0, -1, 80, 80, 1 << 40), {}, "AddressAssigned", id="ports that are none, and twice"),
        pytest.param(ports(80, protocol=LONG), {}, "AddressAssigned", id="an endless protocol"),
        pytest.param({"ports": None, "selector": None, "cluster_ips": None}, {}, "AddressAssigned", id="null lists"),
        pytest.param({"ip_families": ("IPv4", "IPv5")}, {}, "InvalidRequest", id="a family of the future"),
        pytest.param(
            {"ip_families": None, "ip_family_policy": "Sometimes"}, {}, "AddressAssigned", id="a policy of the future"
        ),
        pytest.param({"cluster_ip": "None"}, {}, "InvalidRequest", id="headless"),
        pytest.param(
            {"cluster_ip": LONG, "cluster_ips": (LONG,)}, {}, "AddressAssigned", id="a cluster IP that is none"
        ),
        pytest.param({"load_balancer_ip": LONG}, {}, "InvalidRequest", id="an endless loadBalancerIP"),
        pytest.param({}, {"purelb.io/addresses": "," * 1_000_000}, "InvalidRequest", id="a megabyte of commas"),
        pytest.param({}, {"purelb.io/addresses": ",".join(["192.0.2.10"] * 65)}, "InvalidRequest", id="65 addresses"),
        pytest.param({}, {"purelb.io/service-group": "{0.__class__} %s\x00"}, "InvalidRequest", id="a format string"),
        pytest.param({}, {"purelb.io/service-group": "../../default"}, "UnknownGroup", id="a path"),
        pytest.param({}, {"purelb.io/allow-shared-ip": LONG}, "InvalidRequest", id="an endless key"),
        pytest.param({}, {f"purelb.io/{n}": "x" for n in range(10_000)}, "AddressAssigned", id="unknown annotations"),
    ],
)
def test_a_hostile_service_is_answered_and_its_neighbour_served(
    spec: dict[str, Any], noted: dict[str, str], reason: str
) -> None:
    played = world()
    asked = service("n" * 63, namespace="m" * 63, annotations=noted, **CLASS)
    assert asked.spec is not None
    played.put("services", replace(asked, spec=replace(asked.spec, **spec)))
    played.put("services", service("web", created="2026-01-02T00:00:00Z", **CLASS))
    played.heal(seconds=120.0)
    hostile, neighbour = (played.there["services"][name] for name in ("m" * 63 + "/" + "n" * 63, "shop/web"))
    told = condition(hostile, reasons.ALLOCATED)
    assert told is not None
    assert told.reason == reason
    assert len(told.message) <= 1024
    assert told.message.isprintable()
    assert len(published(neighbour)) == 1


def test_a_report_of_a_hundred_thousand_addresses_that_are_nobodys_changes_nothing() -> None:
    played = world()
    played.put("services", service("web", **CLASS))
    played.heal(seconds=120.0)
    before = played.there["services"]["shop/web"]
    texts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)]
    interfaces = tuple(InterfaceReport(name=f"eth{n}", addresses=tuple(texts[n * 200 :][:200])) for n in range(100))
    report = NodeReport(
        interfaces=interfaces,
        announced=tuple(Announced(ip=text, interface="eth0") for text in (*texts, "nonsense", "")),
        remote=RemoteReport(interface="kube-lb0", count=10**9, addresses=tuple(f"{text}/32" for text in texts)),
        withheld=tuple(Withheld(ip=text, reason=LONG, message=LONG) for text in texts[:2000]),
    )
    meta = ObjectMeta(name=leases.node_lease("n1"), namespace=INSTALL, annotations={leases.SUBNETS: "0.0.0.0/0"})
    played.put("leases", Lease(metadata=meta, spec=LeaseSpec(holder_identity="n1", lease_duration_seconds=10)))
    played.put("reports", LBNodeStatus(metadata=ObjectMeta(name="n1", namespace=INSTALL), status=report))
    for kind in ("leases", "reports"):
        played.deliver(kind)
    for _ in range(3):
        while played.ready or played.writes:
            for sent in list(played.writes):
                played.answer(sent, "ok")
            played.step(next(iter(played.ready)))
        played.pass_time(1.0)
    after = played.there["services"]["shop/web"]
    assert (published(after), after.metadata.annotations) == (published(before), before.metadata.annotations)
    told = condition(after, reasons.ANNOUNCED)
    assert told is not None
    assert (told.status, told.reason) == ("False", reasons.AWAITING_NODE)
    assert len(played.state.ledger.reserved) <= 64 * 64 + 1, "no more than an agent of ours would say"
