# SPDX-License-Identifier: Apache-2.0
"""The Service: defaults, allocation, validation, changes of type and family, and one patch of its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fidelity.cases.objects import LONG_AGO, SERVICES, named, service
from tests.fidelity.steps import JSON_PATCH, STRATEGIC, Case, From, Room, case, get, patch, post, put

if TYPE_CHECKING:
    from tests.fidelity.steps import Object

STATUS = f"{SERVICES}/web/status"
MANY = Room(name="services that are refused")
TCP = {"port": 80}
UDP = {"port": 53, "protocol": "UDP", "name": "dns"}


def created(what: str, **spec: Any) -> Case:
    """What a create answers, and what is stored."""
    return case(f"a Service with {what}", post(SERVICES, service(**spec)), get(f"{SERVICES}/web"))


def refused(what: str, **spec: Any) -> Case:
    """A create that has to be answered with a 422, or at least the same."""
    return case(f"a Service with {what}", post(f"{SERVICES}?dryRun=All", service("refused", **spec)), room=MANY)


def changed(what: str, before: Object, change: Object) -> Case:
    """A merge patch of a Service."""
    return case(f"a Service {what}", post(SERVICES, service(**before)), patch(f"{SERVICES}/web", change))


def spec(**fields: Any) -> Object:
    return {"spec": fields}


CREATED = (
    created("one port"),
    created("type ClusterIP", type="ClusterIP"),
    created("no type", type=None),
    created("type NodePort", type="NodePort"),
    created("type ExternalName", type="ExternalName", externalName="example.com", ports=None),
    created("no node ports", allocateLoadBalancerNodePorts=False),
    created("two ports", ports=[{**TCP, "name": "a"}, {**TCP, "port": 81, "name": "b", "targetPort": "http"}]),
    created("one number in two protocols", ports=[{"port": 53, "name": "t"}, {"port": 53, "name": "u", "protocol": "UDP"}]),
    created("PreferDualStack", ipFamilyPolicy="PreferDualStack"),
    created("RequireDualStack", ipFamilyPolicy="RequireDualStack"),
    created("RequireDualStack and IPv6 first", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6"]),
    created("IPv6 only", ipFamilies=["IPv6"]),
    created("both families and no policy", ipFamilies=["IPv4", "IPv6"]),
    created("no cluster IP", type="ClusterIP", clusterIP="None"),
    created("no cluster IP but a selector", type="ClusterIP", clusterIP="None", selector={"app": "nobody"}),
    created("no cluster IP and no ports", type="ClusterIP", clusterIP="None", ports=None),
    created("policy Local", externalTrafficPolicy="Local"),
    created("internal policy Local", internalTrafficPolicy="Local"),
    created("session affinity", sessionAffinity="ClientIP"),
    created("session affinity of an hour", sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 3600}}),
    created("a class", loadBalancerClass="purelb.io/purelb"),
    created("an address it asks for", loadBalancerIP="192.0.2.9"),
    created("source ranges", loadBalancerSourceRanges=["192.0.2.0/24", "2001:db8::/32"]),
    created("external IPs", externalIPs=["192.0.2.200"], type="ClusterIP"),
    created("an unknown traffic distribution", trafficDistribution="PreferClose"),
    created("empty lists", externalIPs=[], loadBalancerSourceRanges=[], selector={}, ipFamilies=[]),
    created("nulls", externalIPs=None, selector=None, sessionAffinity=None, clusterIP=None),
    created("publishNotReadyAddresses", publishNotReadyAddresses=True),
    created("an application protocol", ports=[{"port": 80, "appProtocol": "kubernetes.io/h2c"}]),
    case("a Service with a status at its creation", post(SERVICES, service() | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})),
    case("a Service in a dry run", post(f"{SERVICES}?dryRun=All", service()), get(f"{SERVICES}/web")),
    case(
        "a node port that is taken",
        post(SERVICES, service("one"), keep="one", only=("kind",)),
        post(SERVICES, service("two", ports=[{"port": 80, "nodePort": 30999}]), only=("spec.ports",)),
        post(SERVICES, service("three", ports=[{"port": 80, "nodePort": 30999}])),
        post(SERVICES, service("four", ports=[{"port": 80, "nodePort": 30999, "protocol": "UDP"}]), only=("spec.ports", "message")),
    ),
)  # fmt: skip

REFUSED = (
    refused("no ports", ports=[]),
    refused("a port beyond 65535", ports=[{"port": 65536}]),
    refused("port 0", ports=[{"port": 0}]),
    refused("a port without a number", ports=[{"name": "http"}]),
    refused("an unknown protocol", ports=[{"port": 80, "protocol": "QUIC"}]),
    refused("two ports without names", ports=[TCP, {"port": 81}]),
    refused("two ports of one name", ports=[{**TCP, "name": "a"}, {"port": 81, "name": "a"}]),
    refused("two equal ports", ports=[{**TCP, "name": "a"}, {**TCP, "name": "b"}]),
    refused("a port name in capitals", ports=[{"port": 80, "name": "HTTP"}]),
    refused("a target port of 0 letters", ports=[{"port": 80, "targetPort": "-"}]),
    refused("a target port beyond 65535", ports=[{"port": 80, "targetPort": 65536}]),
    refused("a node port below the range", ports=[{"port": 80, "nodePort": 80}]),
    refused("a node port although its type has none", type="ClusterIP", ports=[{"port": 80, "nodePort": 30001}]),
    refused("an unknown type", type="Balancer"),
    refused("an external name without a name", type="ExternalName", ports=None),
    refused("a bad external name", type="ExternalName", externalName="-bad-", ports=None),
    refused("an unknown family", ipFamilies=["IPv5"]),
    refused("a family twice", ipFamilies=["IPv4", "IPv4"]),
    refused("three families", ipFamilies=["IPv4", "IPv6", "IPv4"]),
    refused("two families and SingleStack", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="SingleStack"),
    refused("an unknown family policy", ipFamilyPolicy="Both"),
    refused("a cluster IP that is none", clusterIP="10.96.0.999"),
    refused("a cluster IP of another network", clusterIP="192.0.2.1"),
    refused("a cluster IP of the other family", clusterIP="10.96.7.7", ipFamilies=["IPv6"]),
    refused("cluster IPs that disagree", clusterIP="10.96.7.7", clusterIPs=["10.96.7.8"]),
    refused("no cluster IP and type LoadBalancer", clusterIP="None"),
    refused("an external policy and type ClusterIP", type="ClusterIP", externalTrafficPolicy="Local"),
    refused("an unknown external policy", externalTrafficPolicy="Near"),
    refused("an unknown internal policy", internalTrafficPolicy="Near"),
    refused("a health check port without policy Local", healthCheckNodePort=30500),
    refused("node ports refused although its type has none", type="NodePort", allocateLoadBalancerNodePorts=False),
    refused("a class and type ClusterIP", type="ClusterIP", loadBalancerClass="purelb.io/purelb"),
    refused("a bad class", loadBalancerClass="not a class"),
    refused("an empty class", loadBalancerClass=""),
    refused("source ranges and type ClusterIP", type="ClusterIP", loadBalancerSourceRanges=["192.0.2.0/24"]),
    refused("a source range that is none", loadBalancerSourceRanges=["192.0.2.0/33"]),
    refused("a source range without a length", loadBalancerSourceRanges=["192.0.2.1"]),
    refused("a source range with host bits", loadBalancerSourceRanges=["192.0.2.1/24"]),
    refused("an external IP that is none", externalIPs=["elsewhere"]),
    refused("an unknown session affinity", sessionAffinity="Cookie"),
    refused("a session affinity of a day and a second", sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
    refused("a selector that is none", selector={"a b": "c"}),
    refused("a selector value that is none", selector={"app": "-"}),
    refused("several mistakes at once", ports=[{"port": 0, "protocol": "X"}], type="What", sessionAffinity="Cookie"),
    refused("a word where a number belongs", ports=[{"port": "http"}]),
    refused("a number where a word belongs", type=7),
    refused("an object where a list belongs", ports={"port": 80}),
    refused("a traffic distribution nobody knows", trafficDistribution="Near"),
    case("a Service whose name starts with a digit", post(f"{SERVICES}?dryRun=All", service("1web")), room=MANY),
    case("a Service whose name has a dot", post(f"{SERVICES}?dryRun=All", service("we.b")), room=MANY),
    case("a Service whose name is too long", post(f"{SERVICES}?dryRun=All", service("w" * 64)), room=MANY),
    case("a Service without a spec", post(f"{SERVICES}?dryRun=All", named("v1", "Service", "refused")), room=MANY),
)  # fmt: skip

CHANGED = (
    changed("that becomes a ClusterIP", {}, spec(type="ClusterIP")),
    changed("that becomes a NodePort", {}, spec(type="NodePort")),
    changed("that becomes a LoadBalancer", {"type": "ClusterIP"}, spec(type="LoadBalancer")),
    changed("that becomes an ExternalName", {}, spec(type="ExternalName", externalName="example.com")),
    changed("that becomes an ExternalName without giving up its address", {"type": "ClusterIP"}, spec(type="ExternalName", externalName="example.com", clusterIP="10.96.7.7")),
    changed("that gets policy Local", {}, spec(externalTrafficPolicy="Local")),
    changed("that loses policy Local", {"externalTrafficPolicy": "Local"}, spec(externalTrafficPolicy="Cluster")),
    changed("that gets node ports", {"allocateLoadBalancerNodePorts": False}, spec(allocateLoadBalancerNodePorts=True)),
    changed("that gives node ports up", {}, spec(allocateLoadBalancerNodePorts=False)),
    changed("that gets another port", {}, spec(ports=[{"port": 8080}])),
    changed("that gets a second family", {}, spec(ipFamilyPolicy="RequireDualStack")),
    changed("that prefers a second family", {}, spec(ipFamilyPolicy="PreferDualStack")),
    changed("that loses its second family", {"ipFamilyPolicy": "RequireDualStack"}, spec(ipFamilyPolicy="SingleStack")),
    changed("whose first family changes", {}, spec(ipFamilies=["IPv6"])),
    changed("whose families are named again", {"ipFamilyPolicy": "PreferDualStack"}, spec(ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")),
    changed("whose cluster IP changes", {}, spec(clusterIP="10.96.7.7")),
    changed("whose cluster IP is emptied", {}, spec(clusterIP="")),
    changed("whose cluster IP is removed", {}, spec(clusterIP=None, clusterIPs=None)),
    changed("whose class changes", {"loadBalancerClass": "purelb.io/purelb"}, spec(loadBalancerClass="example.com/other")),
    changed("whose class is removed", {"loadBalancerClass": "purelb.io/purelb"}, spec(loadBalancerClass=None)),
    changed("that gets a class late", {}, spec(loadBalancerClass="purelb.io/purelb")),
    changed("that gets a class with its type", {"type": "ClusterIP"}, spec(type="LoadBalancer", loadBalancerClass="purelb.io/purelb")),
    changed("that loses its class with its type", {"loadBalancerClass": "purelb.io/purelb"}, spec(type="ClusterIP")),
    changed("that loses its source ranges with its type", {"loadBalancerSourceRanges": ["192.0.2.0/24"]}, spec(type="ClusterIP", loadBalancerSourceRanges=None)),
    changed("that keeps its source ranges and loses its type", {"loadBalancerSourceRanges": ["192.0.2.0/24"]}, spec(type="ClusterIP")),
    changed("that is patched with nothing", {}, {}),
    changed("that is patched with what it says", {"externalTrafficPolicy": "Local"}, spec(externalTrafficPolicy="Local")),
    changed("whose name is changed", {}, {"metadata": {"name": "other"}}),
    changed("whose uid is changed", {}, {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}),
    case(
        "a Service that is replaced by what a person writes",
        post(SERVICES, service(externalTrafficPolicy="Local")),
        put(f"{SERVICES}/web", service(ports=[{"port": 80}, {"port": 81, "name": "b"}])),
        put(f"{SERVICES}/web", service(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "b"}])),
    ),
    case("a Service that is replaced by itself", post(SERVICES, service(), keep="web"), put(f"{SERVICES}/web", From("web"))),
)  # fmt: skip

CONDITION: Object = {"type": "purelb.io/Allocated", "status": "True", "reason": "AddressAssigned", "message": "192.0.2.1 from default",
                     "lastTransitionTime": LONG_AGO}  # fmt: skip
BALANCER = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}


def status(what: str, body: Object, *, before: Object | None = None, **more: Any) -> Case:
    """A patch of a Service's status."""
    return case(
        f"a status with {what}",
        post(SERVICES, service(**(before or {})), keep="web"),
        patch(STATUS, body, **more),
        get(f"{SERVICES}/web"),
    )


def ingress(*points: Object) -> Object:
    return {"status": {"loadBalancer": {"ingress": list(points)}}}


STATUSES = (
    case(
        "one patch of the status: ingress, conditions, annotations, revision",
        post(SERVICES, service(metadata={"annotations": {"keep": "me"}}), keep="web"),
        patch(
            STATUS,
            {
                "metadata": {
                    "resourceVersion": "<web.rv>",
                    "annotations": {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default"},
                },
                "status": BALANCER | {"conditions": [CONDITION]},
            },
            keep="given",
        ),
        get(f"{SERVICES}/web"),
        patch(STATUS, {"metadata": {"resourceVersion": "<web.rv>"}, "status": {"loadBalancer": {}}}),
        patch(
            STATUS,
            {
                "metadata": {"resourceVersion": "<given.rv>", "annotations": {"purelb.io/allocated-by": None, "purelb.io/allocated-from": None}},
                "status": {"loadBalancer": None, "conditions": None},
            },
        ),
    ),
    status("labels and finalizers", {"metadata": {"labels": {"a": "b"}, "finalizers": ["purelb.io/hold"]}}),
    status("a spec that is ignored", {"spec": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}, **ingress({"ip": "192.0.2.1"})}),
    status("a bad label", {"metadata": {"labels": {"a b": "c"}}}),
    status("an ingress without an ipMode", ingress({"ip": "192.0.2.1"})),
    status("ipMode Proxy", ingress({"ip": "192.0.2.1", "ipMode": "Proxy"})),
    status("an unknown ipMode", ingress({"ip": "192.0.2.1", "ipMode": "Magic"})),
    status("an ipMode without an address", ingress({"hostname": "example.com", "ipMode": "VIP"})),
    status("an address that is none", ingress({"ip": "192.0.2.999"})),
    status("an address with a zone", ingress({"ip": "fe80::1%eth0"})),
    status("an address in an odd form", ingress({"ip": "2001:DB8::0001"})),
    status("a hostname", ingress({"hostname": "lb.example.com"})),
    status("a hostname that is an address", ingress({"hostname": "192.0.2.1"})),
    status("a bad hostname", ingress({"hostname": "not a name"})),
    status("an empty ingress", ingress({})),
    status("two families", ingress({"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}), before={"ipFamilyPolicy": "RequireDualStack"}),
    status("ports", ingress({"ip": "192.0.2.1", "ports": [{"port": 80, "protocol": "TCP"}]})),
    status("an ingress on a ClusterIP", ingress({"ip": "192.0.2.1"}), before={"type": "ClusterIP"}),
    status("an empty balancer on a ClusterIP", {"status": {"loadBalancer": {}}}, before={"type": "ClusterIP"}),
    status("a condition without a reason", {"status": {"conditions": [{"type": "a", "status": "True"}]}}),
    status("a condition of an unknown status", {"status": {"conditions": [{**CONDITION, "status": "Perhaps"}]}}),
    status("a condition twice", {"status": {"conditions": [CONDITION, CONDITION]}}),
    status("a condition whose reason has blanks", {"status": {"conditions": [{**CONDITION, "reason": "not a word"}]}}),
    status("a condition of another type, merged strategically", {"status": {"conditions": [CONDITION]}}, media=STRATEGIC),
    status("an ingress by strategic patch", ingress({"ip": "192.0.2.1"}), media=STRATEGIC),
    status("a JSON patch", [{"op": "add", "path": "/status/loadBalancer/ingress", "value": [{"ip": "192.0.2.1"}]}], media=JSON_PATCH),  # type: ignore[arg-type]
    status("an unknown field", {"status": {"loadBalancer": {"address": "x"}}}),
    case(
        "an address that goes with its type",
        post(SERVICES, service()),
        patch(STATUS, {"status": BALANCER | {"conditions": [CONDITION]}}),
        patch(f"{SERVICES}/web", {"spec": {"type": "ClusterIP"}}),
    ),
    case("a status that a PUT of the Service brings", post(SERVICES, service(), keep="web"), put(f"{SERVICES}/web", From("web", {"status": BALANCER}))),
    case("a PUT of a status", post(SERVICES, service(), keep="web"), put(STATUS, From("web", {"status": BALANCER, "spec": {"type": "NodePort"}}))),
    case("a status of what is not there", patch(STATUS, {"status": {}})),
)  # fmt: skip

CASES: tuple[Case, ...] = (*CREATED, *REFUSED, *CHANGED, *STATUSES)
