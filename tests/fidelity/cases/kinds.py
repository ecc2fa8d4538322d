# SPDX-License-Identifier: Apache-2.0
"""Built-in kinds beside the Service: what they default, what they refuse, and which of their fields stay."""

from __future__ import annotations

from typing import Any

from tests.fidelity.cases.objects import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    LONG_AGO,
    LONG_AGO_MICRO,
    NAMESPACES,
    NEW_EVENTS,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SLICES,
    config_map,
    endpoint_slice,
    event,
    lease,
    named,
    new_event,
    pod,
)
from tests.fidelity.steps import Case, From, Object, Room, case, delete, get, patch, post, put

BAD = Room(name="kinds that are refused")


def leased(what: str, **spec: Any) -> Case:
    return case(f"a Lease with {what}", post(f"{LEASES}?dryRun=All", lease("bad", **spec)), room=BAD)


LEASE_CASES = (
    case(
        "a Lease with everything",
        post(LEASES, lease("one", holderIdentity="me", leaseDurationSeconds=15, acquireTime=LONG_AGO_MICRO, renewTime=LONG_AGO_MICRO, leaseTransitions=0)),
        patch(f"{LEASES}/one", {"spec": {"renewTime": "2020-01-02T03:04:06.500000Z", "leaseTransitions": 1}}),
    ),
    case("a Lease without a spec", post(LEASES, named("coordination.k8s.io/v1", "Lease", "one"))),
    case("a Lease whose times have no fractions", post(LEASES, lease("one", renewTime=LONG_AGO))),
    case("a Lease whose times have nanoseconds", post(LEASES, lease("one", renewTime="2020-01-02T03:04:05.123456789Z"))),
    case("a Lease whose time has another zone", post(LEASES, lease("one", renewTime="2020-01-02T03:04:05.000000+02:00"))),
    case("a Lease whose holder is empty", post(LEASES, lease("one", holderIdentity=""))),
    leased("a duration of 0", leaseDurationSeconds=0),
    leased("a negative duration", leaseDurationSeconds=-1),
    leased("a negative number of transitions", leaseTransitions=-1),
    leased("a time that is none", renewTime="yesterday"),
    leased("a duration that is a word", leaseDurationSeconds="15"),
    leased("a duration with a fraction", leaseDurationSeconds=1.5),
    leased("a duration beyond 32 bits", leaseDurationSeconds=2**31),
    leased("an unknown strategy", strategy="Bad Strategy"),
    leased("a preferred holder and no strategy", preferredHolder="me"),
    case("a Lease that is replaced without a revision", post(LEASES, lease("one")), put(f"{LEASES}/one", lease("one", holderIdentity="me"))),
    case(
        "a Lease that two want",
        post(LEASES, lease("one", holderIdentity="a"), keep="one"),
        put(f"{LEASES}/one", From("one", {"spec": {"holderIdentity": "b"}})),
        put(f"{LEASES}/one", From("one", {"spec": {"holderIdentity": "c"}})),
    ),
)  # fmt: skip


def sliced(what: str, **more: Any) -> Case:
    return case(f"an EndpointSlice with {what}", post(f"{SLICES}?dryRun=All", endpoint_slice("bad", **more)), room=BAD)


def endpoint(**more: Any) -> list[Object]:
    return [{"addresses": ["192.0.2.1"], **more}]


SLICE_CASES = (
    case("an EndpointSlice", post(SLICES, endpoint_slice()), patch(f"{SLICES}/web-1", {"endpoints": endpoint(conditions={"ready": True})})),
    case("an EndpointSlice of nothing", post(SLICES, endpoint_slice(endpoints=[], ports=[]))),
    case("an EndpointSlice of nulls", post(SLICES, endpoint_slice(endpoints=None, ports=None))),
    case("an EndpointSlice without lists", post(SLICES, named("discovery.k8s.io/v1", "EndpointSlice", "bare", addressType="IPv6"))),
    case(
        "an EndpointSlice with everything",
        post(
            SLICES,
            endpoint_slice(
                metadata={"labels": {"kubernetes.io/service-name": "web"}},
                endpoints=endpoint(
                    conditions={"ready": False, "serving": True, "terminating": True},
                    hostname="one",
                    nodeName="n1",
                    zone="z1",
                    targetRef={"kind": "Pod", "name": "web-0", "namespace": "<ns>"},
                    hints={"forZones": [{"name": "z1"}]},
                ),
                ports=[{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}, {"name": "all"}],
            ),
        ),
    ),
    case("an EndpointSlice of names", post(SLICES, endpoint_slice(addressType="FQDN", endpoints=[{"addresses": ["a.example.com"]}]))),
    sliced("no address type", addressType=None),
    sliced("an unknown address type", addressType="IPv5"),
    sliced("addresses of another family", addressType="IPv6"),
    sliced("an address that is none", endpoints=[{"addresses": ["192.0.2.999"]}]),
    sliced("no addresses", endpoints=[{"addresses": []}]),
    sliced("endpoints without addresses", endpoints=[{}]),
    sliced("101 addresses", endpoints=[{"addresses": [f"192.0.2.{n}" for n in range(101)]}]),
    sliced("a loopback address", endpoints=[{"addresses": ["127.0.0.1"]}]),
    sliced("a link-local address", endpoints=[{"addresses": ["169.254.1.1"]}]),
    sliced("an unspecified address", endpoints=[{"addresses": ["0.0.0.0"]}]),
    sliced("a bad hostname", endpoints=endpoint(hostname="-bad-")),
    sliced("an empty node name", endpoints=endpoint(nodeName="")),
    sliced("a bad node name", endpoints=endpoint(nodeName="Not_A_Name")),
    sliced("two ports of one name", ports=[{"name": "a", "port": 80}, {"name": "a", "port": 81}]),
    sliced("a bad port name", ports=[{"name": "HTTP", "port": 80}]),
    sliced("an unknown protocol", ports=[{"name": "a", "port": 80, "protocol": "QUIC"}]),
    sliced("port 0", ports=[{"name": "a", "port": 0}]),
    sliced("a port beyond 65535", ports=[{"name": "a", "port": 65536}]),
    sliced("a hint that is none", endpoints=endpoint(hints={"forZones": [{"name": "not a zone"}]})),
    case("an EndpointSlice that is replaced without a revision", post(SLICES, endpoint_slice()), put(f"{SLICES}/web-1", endpoint_slice())),
    case("an EndpointSlice whose type changes", post(SLICES, endpoint_slice()), patch(f"{SLICES}/web-1", {"addressType": "IPv6", "endpoints": []})),
)  # fmt: skip


def told(what: str, **more: Any) -> Case:
    return case(f"an Event with {what}", post(f"{EVENTS}?dryRun=All", event("bad", **more)), room=BAD)


def told_anew(what: str, **more: Any) -> Case:
    return case(f"a new-style Event with {what}", post(f"{NEW_EVENTS}?dryRun=All", new_event("bad", **more)), room=BAD)


EVENT_CASES = (
    case(
        "an old-style Event",
        post(EVENTS, event(firstTimestamp=LONG_AGO, lastTimestamp=LONG_AGO, count=1, source={"component": "purelb"})),
        patch(f"{EVENTS}/seen", {"count": 2, "lastTimestamp": "2020-01-02T04:00:00Z", "message": "seen twice"}),
        get(f"{NEW_EVENTS}/seen"),
    ),
    case(
        "a new-style Event",
        post(NEW_EVENTS, new_event()),
        get(f"{EVENTS}/seen"),
        patch(f"{NEW_EVENTS}/seen", {"series": {"count": 2, "lastObservedTime": LONG_AGO_MICRO}}),
        patch(f"{NEW_EVENTS}/seen", {"note": "another"}),
        patch(f"{NEW_EVENTS}/seen", {"reason": "Another"}),
        get(NEW_EVENTS),
    ),
    case("a new-style Event by the old path", post(EVENTS, event(eventTime=LONG_AGO_MICRO, reportingComponent="purelb.io/a", reportingInstance="a-0", action="Look", type="Normal"))),
    case("a deleted Event", post(EVENTS, event()), delete(f"{EVENTS}/seen"), get(f"{NEW_EVENTS}/seen")),
    told("another namespace", involvedObject={"kind": "ConfigMap", "namespace": "default", "name": "x"}),
    told("no namespace of what it is about", involvedObject={"kind": "Node", "name": "x"}),
    told("an unknown type", type="Odd"),
    told("a long message", message="x" * 1025),
    told("a long reason", reason="x" * 200),
    told("a time that is none", firstTimestamp="now"),
    told("a count that is a word", count="many"),
    case("an Event about a node", post("/api/v1/namespaces/default/events?dryRun=All", event("node", involvedObject={"kind": "Node", "name": "x"}))),
    *(
        told_anew(f"no {field}", **{field: None})
        for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "regarding", "note", "type")
    ),
    told_anew("an unknown type", type="Odd"),
    told_anew("a long note", note="x" * 1025),
    told_anew("a long reason", reason="x" * 129),
    told_anew("a long action", action="x" * 129),
    told_anew("a long instance", reportingInstance="x" * 129),
    told_anew("a controller that is no qualified name", reportingController="not a name"),
    told_anew("a controller without a domain", reportingController="purelb"),
    told_anew("another namespace", regarding={"kind": "Service", "namespace": "default", "name": "web"}),
    told_anew("a series of one", series={"count": 1, "lastObservedTime": LONG_AGO_MICRO}),
    told_anew("a series without a time", series={"count": 2}),
    told_anew("an old-style count", deprecatedCount=2),
)  # fmt: skip

NODE = "fidelity-<ns>"
OTHERS = (
    case(
        "a Node",
        post(NODES, named("v1", "Node", NODE, spec={"podCIDRs": ["10.9.0.0/24"]}), leave_out=("spec.taints",)),
        patch(f"{NODES}/{NODE}/status", {"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": LONG_AGO, "lastTransitionTime": LONG_AGO}],
              "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}}, only=("status.conditions", "status.addresses")),
        patch(f"{NODES}/{NODE}/status", {"metadata": {"labels": {"a": "b"}}, "spec": {"unschedulable": True}}, only=("metadata.labels", "spec.unschedulable")),
        patch(f"{NODES}/{NODE}", {"spec": {"podCIDRs": ["10.9.1.0/24"]}}, only=("message", "spec.podCIDRs")),
        patch(f"{NODES}/{NODE}", {"spec": {"unschedulable": True}}, only=("spec.unschedulable",)),
        patch(f"{NODES}/{NODE}", {"spec": {"taints": [{"key": "bad key", "effect": "NoSchedule"}]}}),
        patch(f"{NODES}/{NODE}", {"spec": {"taints": [{"key": "good", "effect": "Perhaps"}]}}),
        delete(f"{NODES}/{NODE}"),
    ),
    case("a Secret of text", post(SECRETS, named("v1", "Secret", "one", stringData={"a": "text"}, data={"b": "dGV4dA=="}))),
    case("a Secret that is no base64", post(SECRETS + "?dryRun=All", named("v1", "Secret", "bad", data={"a": "?"})), room=BAD),
    case("a Secret whose key is none", post(SECRETS + "?dryRun=All", named("v1", "Secret", "bad", data={"a b": "dg=="})), room=BAD),
    case("a Secret whose type changes", post(SECRETS, named("v1", "Secret", "one", type="a/b")), patch(f"{SECRETS}/one", {"type": "c/d"})),
    case("a Secret that is immutable", post(SECRETS, named("v1", "Secret", "one", immutable=True, data={"a": "dg=="})), patch(f"{SECRETS}/one", {"data": {"a": "dA=="}})),
    case("a ConfigMap whose key is none", post(CONFIG_MAPS + "?dryRun=All", config_map("bad", data={"a b": "c"})), room=BAD),
    case("a ConfigMap whose key is ..", post(CONFIG_MAPS + "?dryRun=All", config_map("bad", data={"..": "c"})), room=BAD),
    case("a ConfigMap whose key stands twice", post(CONFIG_MAPS + "?dryRun=All", config_map("bad", data={"a": "c"}, binaryData={"a": "dg=="})), room=BAD),
    case("a ConfigMap of more than a MiB", post(CONFIG_MAPS + "?dryRun=All", config_map("bad", data={"a": "x" * (1024 * 1024 + 1)})), room=BAD),
    case("a ServiceAccount", post(SERVICE_ACCOUNTS, named("v1", "ServiceAccount", "one"))),
    case("a token of a ServiceAccount", post(SERVICE_ACCOUNTS, named("v1", "ServiceAccount", "one")),
         post(f"{SERVICE_ACCOUNTS}/one/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}, leave_out=("status.token", "spec.audiences")),
         post(f"{SERVICE_ACCOUNTS}/one/token", {"spec": {"expirationSeconds": 60}}),
         post(f"{SERVICE_ACCOUNTS}/none/token", {"spec": {}})),
    case("a Pod that is bound", post(PODS, pod(), only=("spec.nodeName", "status.phase")),
         post(f"{PODS}/one/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "one"}, "target": {"kind": "Node", "name": "n1"}}),
         get(f"{PODS}/one", only=("spec.nodeName",))),
    case("a Pod's status", post(PODS, pod(), only=("status.phase",)),
         patch(f"{PODS}/one/status", {"status": {"phase": "Running", "podIP": "192.0.2.3", "podIPs": [{"ip": "192.0.2.3"}]}, "spec": {"nodeName": "x"}}, only=("status.phase", "status.podIP", "status.podIPs", "spec.nodeName"))),
    case("a namespace's labels", get(f"{NAMESPACES}/<ns>"), patch(f"{NAMESPACES}/<ns>", {"metadata": {"labels": {"kubernetes.io/metadata.name": "x", "a": "b"}}})),
)  # fmt: skip

CASES: tuple[Case, ...] = (*LEASE_CASES, *SLICE_CASES, *EVENT_CASES, *OTHERS)
