# SPDX-License-Identifier: Apache-2.0
"""The shape of the built-in kinds whose fields this server judges, in the notation of custom resources.

One tree serves three purposes: an unknown field is reported and dropped as a typed server does, a value of the wrong
type is refused, and `kubectl explain` has something to show. A kind without a tree (Deployments, Roles, ...) is stored as
it comes. Field names and meanings: the Kubernetes API reference, v1.34.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from purelb.sandbox.apiserver.defaults import compile_schema
from purelb.sandbox.apiserver.schema import Node

if TYPE_CHECKING:
    from purelb.sandbox.apiserver.answers import FieldError

Tree = dict[str, Any]

S: Tree = {"type": "string"}
I: Tree = {"type": "integer", "format": "int32"}  # noqa: E741 - the letters of this file's notation
L: Tree = {"type": "integer", "format": "int64"}
B: Tree = {"type": "boolean"}
IOS: Tree = {"x-kubernetes-int-or-string": True}
T: Tree = {"type": "string", "format": "date-time"}
MT: Tree = {"type": "string", "format": "microtime"}  # six digits of a second, no more, no less
ANY: Tree = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def o(about: str = "", /, **fields: Tree) -> Tree:
    """An object with these fields."""
    return {"type": "object", "properties": fields} | ({"description": about} if about else {})


def partly(**fields: Tree) -> Tree:
    """An object of which only these fields are judged, because something here reads them; others are stored as they come."""
    return ANY | {"properties": fields}


def l(items: Tree) -> Tree:  # noqa: E743
    return {"type": "array", "items": items}


def m(values: Tree) -> Tree:
    return {"type": "object", "additionalProperties": values}


def said(tree: Tree, about: str) -> Tree:
    return tree | {"description": about}


OWNER = o(apiVersion=S, kind=S, name=S, uid=S, controller=B, blockOwnerDeletion=B)
METADATA = o(
    "Standard object's metadata.",
    name=said(S, "Name must be unique within a namespace."),
    generateName=S,
    namespace=said(S, "Namespace defines the space within which each name must be unique."),
    selfLink=S,
    uid=S,
    resourceVersion=said(S, "An opaque value that represents the internal version of this object."),
    generation=L,
    creationTimestamp=T,
    deletionTimestamp=T,
    deletionGracePeriodSeconds=L,
    labels=said(m(S), "Map of string keys and values that can be used to organize and categorize objects."),
    annotations=said(m(S), "Unstructured key value map stored with a resource for tools to keep arbitrary metadata."),
    ownerReferences=l(OWNER),
    finalizers=l(S),
    managedFields=l(ANY),
)
REFERENCE = o(kind=S, namespace=S, name=S, uid=S, apiVersion=S, resourceVersion=S, fieldPath=S)
CONDITION = o(
    type=S,
    status=S,
    observedGeneration=L,
    lastTransitionTime=T,
    reason=S,
    message=S,
    lastHeartbeatTime=T,
    lastProbeTime=T,
)


def kind(about: str, /, **fields: Tree) -> Tree:
    return o(about, apiVersion=S, kind=S, metadata=METADATA, **fields)


SERVICE = kind(
    "Service is a named abstraction of a software service consisting of a port that the proxy listens on and the selector that determines which pods will answer.",
    spec=o(
        "Spec defines the behavior of a service.",
        allocateLoadBalancerNodePorts=said(
            B, "Whether node ports are allocated for a service of type LoadBalancer. Default true."
        ),
        clusterIP=said(S, "The IP address of the service; usually assigned by the server."),
        clusterIPs=l(S),
        externalIPs=l(S),
        externalName=S,
        externalTrafficPolicy=said(S, "Cluster or Local: how external traffic is routed to endpoints."),
        healthCheckNodePort=I,
        internalTrafficPolicy=S,
        ipFamilies=said(l(S), "IP families assigned to this service, at most one of each."),
        ipFamilyPolicy=said(S, "SingleStack, PreferDualStack or RequireDualStack."),
        loadBalancerClass=said(S, "The class of the load balancer implementation this Service belongs to."),
        loadBalancerIP=said(S, "Deprecated: the address wanted from the load balancer."),
        loadBalancerSourceRanges=l(S),
        ports=said(
            l(o(appProtocol=S, name=S, nodePort=I, port=I, protocol=S, targetPort=IOS)),
            "The list of ports that are exposed by this service.",
        ),
        publishNotReadyAddresses=B,
        selector=m(S),
        sessionAffinity=S,
        sessionAffinityConfig=o(clientIP=o(timeoutSeconds=I)),
        topologyKeys=l(S),
        trafficDistribution=S,
        type=said(S, "How the Service is exposed: ExternalName, ClusterIP, NodePort or LoadBalancer."),
    ),
    status=o(
        "Most recently observed status of the service.",
        conditions=l(CONDITION),
        loadBalancer=o(
            "The current status of the load balancer, if one is present.",
            ingress=l(o(hostname=S, ip=S, ipMode=S, ports=l(o(port=I, protocol=S, error=S)))),
        ),
    ),
)
LEASE = kind(
    "Lease defines a lease concept.",
    spec=o(
        holderIdentity=S,
        leaseDurationSeconds=I,
        acquireTime=MT,
        renewTime=MT,
        leaseTransitions=I,
        strategy=S,
        preferredHolder=S,
    ),
)
ENDPOINT_SLICE = kind(
    "EndpointSlice represents a set of service endpoints.",
    addressType=S,
    endpoints=l(
        o(
            addresses=l(S),
            conditions=o(ready=B, serving=B, terminating=B),
            deprecatedTopology=m(S),
            hints=o(forZones=l(o(name=S)), forNodes=l(o(name=S))),
            hostname=S,
            nodeName=S,
            targetRef=REFERENCE,
            zone=S,
        )
    ),
    ports=l(o(name=S, protocol=S, port=I, appProtocol=S)),
)
EVENT = kind(
    "Event is a report of an event somewhere in the cluster.",
    action=S,
    count=I,
    eventTime=MT,
    firstTimestamp=T,
    involvedObject=REFERENCE,
    lastTimestamp=T,
    message=S,
    reason=S,
    related=REFERENCE,
    reportingComponent=S,
    reportingInstance=S,
    series=o(count=I, lastObservedTime=MT),
    source=o(component=S, host=S),
    type=S,
)
EVENTS_K8S_IO = kind(
    "Event is a report of an event somewhere in the cluster.",
    action=S,
    deprecatedCount=I,
    deprecatedFirstTimestamp=T,
    deprecatedLastTimestamp=T,
    deprecatedSource=o(component=S, host=S),
    eventTime=MT,
    note=S,
    reason=S,
    regarding=REFERENCE,
    related=REFERENCE,
    reportingController=S,
    reportingInstance=S,
    series=o(count=I, lastObservedTime=MT),
    type=S,
)
TREES: Mapping[tuple[str, str], Tree] = {
    ("", "Service"): SERVICE,
    ("", "Namespace"): kind(
        "Namespace provides a scope for Names.",
        spec=o(finalizers=l(S)),
        status=o(phase=S, conditions=l(CONDITION)),
    ),
    ("", "ConfigMap"): kind("ConfigMap holds configuration data for pods.", data=m(S), binaryData=m(S), immutable=B),
    ("", "Secret"): kind("Secret holds secret data.", data=m(S), stringData=m(S), immutable=B, type=S),
    ("", "ServiceAccount"): kind(
        "ServiceAccount binds together a name, a principal and a set of secrets.",
        secrets=l(REFERENCE),
        imagePullSecrets=l(o(name=S)),
        automountServiceAccountToken=B,
    ),
    ("", "Node"): kind(
        "Node is a worker node in Kubernetes.",
        spec=o(
            podCIDR=S,
            podCIDRs=l(S),
            providerID=S,
            unschedulable=B,
            taints=l(o(key=S, value=S, effect=S, timeAdded=T)),
            configSource=ANY,
            externalID=S,
        ),
        status=partly(addresses=l(o(address=S, type=S)), conditions=l(CONDITION), daemonEndpoints=ANY, nodeInfo=ANY),
    ),
    ("", "Pod"): kind(
        "Pod is a collection of containers that can run on a host.",
        spec=partly(containers=l(partly(name=S, image=S, ports=l(ANY)))),
        status=partly(conditions=l(ANY), containerStatuses=l(ANY), phase=S),
    ),
    ("", "Event"): EVENT,
    ("events.k8s.io", "Event"): EVENTS_K8S_IO,
    ("coordination.k8s.io", "Lease"): LEASE,
    ("discovery.k8s.io", "EndpointSlice"): ENDPOINT_SLICE,
}


def _compiled(tree: Tree) -> Node:
    errors: list[FieldError] = []
    node = compile_schema(tree, "", errors)
    if errors:
        raise ValueError(f"a built-in tree is wrong: {'; '.join(map(str, errors))}")
    return node


NODES: Mapping[tuple[str, str], Node] = {name: _compiled(tree) for name, tree in TREES.items()}
METADATA_NODE = _compiled(METADATA)
