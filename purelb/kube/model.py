# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes kinds that components read, as frozen Structs, and only the fields that some component reads.

Rules. Every field has a default, because a BOOKMARK carries metadata alone. A list or map that is absent, null or empty
means the same: the field is `T | None` and is read as `x or ()`, which mypy does not let one forget. `kind` is a tag:
msgspec refuses a wrong kind and accepts a missing one, as list items have none. Timestamps stay text; nothing here orders
them. `gc=False` demands trees: no Struct may hold a reference back.

A decoded Struct is never sent back whole: it has dropped the fields it does not know. Writes are patches made from intent.

Sources: Kubernetes API reference, core/v1, discovery.k8s.io/v1, coordination.k8s.io/v1, events.k8s.io/v1.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from msgspec import Struct, field

_NOTHING: Final[Mapping[str, str]] = {}


class OwnerReference(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = ()


class KubeObject(Protocol):
    """What every object has."""

    @property
    def metadata(self) -> ObjectMeta: ...


class PartialObject(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Any kind, reduced to its metadata."""

    metadata: ObjectMeta = ObjectMeta()


class Condition(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`metav1.Condition`."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | None = None


class LabelSelectorRequirement(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = ()


class LabelSelector(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    match_labels: Mapping[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = ()


# core/v1 Namespace


class NamespaceStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    phase: str = ""


class Namespace(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Namespace"):
    metadata: ObjectMeta = ObjectMeta()
    status: NamespaceStatus | None = NamespaceStatus()


# core/v1 Node


class Taint(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeAddress(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    type: str = ""
    address: str = ""


class NodeCondition(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    type: str = ""
    status: str = "Unknown"
    reason: str = ""


class NodeSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    pod_cidrs: tuple[str, ...] | None = field(name="podCIDRs", default=())
    unschedulable: bool | None = None
    taints: tuple[Taint, ...] | None = ()


class NodeStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    addresses: tuple[NodeAddress, ...] | None = ()
    conditions: tuple[NodeCondition, ...] | None = ()


class Node(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Node"):
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec | None = NodeSpec()
    status: NodeStatus | None = NodeStatus()


# core/v1 Pod


class PodSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    node_name: str = ""


class PodStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    phase: str = ""
    pod_ip: str = field(name="podIP", default="")


class Pod(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Pod"):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec | None = PodSpec()
    status: PodStatus | None = PodStatus()


# core/v1 Service


class ServicePort(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0


class ServiceSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    type: str = ""
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] | None = field(name="clusterIPs", default=())
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    load_balancer_class: str | None = None
    ip_families: tuple[str, ...] | None = ()
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] | None = ()
    selector: Mapping[str, str] | None = None
    external_traffic_policy: str = ""
    session_affinity: str = ""


class LoadBalancerIngress(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    ingress: tuple[LoadBalancerIngress, ...] | None = ()


class ServiceStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    load_balancer: LoadBalancerStatus | None = LoadBalancerStatus()
    conditions: tuple[Condition, ...] | None = ()


class Service(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Service"):
    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceSpec | None = ServiceSpec()
    status: ServiceStatus | None = ServiceStatus()


# discovery.k8s.io/v1 EndpointSlice


class EndpointConditions(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Each may be null: `ready` null means true, `serving` null means `ready`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    addresses: tuple[str, ...] | None = ()
    conditions: EndpointConditions | None = EndpointConditions()
    node_name: str | None = None


class EndpointPort(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="EndpointSlice"):
    metadata: ObjectMeta = ObjectMeta()
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()


# coordination.k8s.io/v1 Lease


class LeaseSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Times are MicroTime text of the holder's clock: nothing is decided by comparing them with ours.

    The one comparison there is makes the allocator wait, at the first sight of a node's lease.
    """

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Lease"):
    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec | None = LeaseSpec()


# events.k8s.io/v1 Event


class ObjectReference(Struct, frozen=True, gc=False, kw_only=True, rename="camel", omit_defaults=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class EventSeries(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    count: int = 0
    last_observed_time: str | None = None


class Event(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="Event"):
    metadata: ObjectMeta = ObjectMeta()
    event_time: str | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference | None = ObjectReference()
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""
    series: EventSeries | None = None


# apiextensions.k8s.io/v1 CustomResourceDefinition


class DefinitionVersion(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    name: str = ""
    served: bool = False


class DefinitionSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    group: str = ""
    versions: tuple[DefinitionVersion, ...] | None = ()


class DefinitionStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    conditions: tuple[Condition, ...] | None = ()


class CustomResourceDefinition(
    Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="CustomResourceDefinition"
):
    metadata: ObjectMeta = ObjectMeta()
    spec: DefinitionSpec | None = DefinitionSpec()
    status: DefinitionStatus | None = DefinitionStatus()


# authorization.k8s.io/v1 SelfSubjectAccessReview


class AccessReviewStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    allowed: bool = False
    reason: str = ""


class SelfSubjectAccessReview(
    Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="SelfSubjectAccessReview"
):
    metadata: ObjectMeta = ObjectMeta()
    status: AccessReviewStatus | None = AccessReviewStatus()


class UserInfo(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    username: str = ""


class SelfReviewStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    user_info: UserInfo = UserInfo()


class SelfSubjectReview(
    Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="SelfSubjectReview"
):
    metadata: ObjectMeta = ObjectMeta()
    status: SelfReviewStatus | None = SelfReviewStatus()


O = TypeVar("O", bound=KubeObject)  # noqa: E741  an object of any kind


def key(obj: KubeObject) -> str:
    """`namespace/name`, or `name` of a cluster-scoped object; empty when the object has no name."""
    meta = obj.metadata
    return f"{meta.namespace}/{meta.name}" if meta.namespace and meta.name else meta.name


def labels(obj: KubeObject) -> Mapping[str, str]:
    """The labels, empty when there are none."""
    return obj.metadata.labels or _NOTHING


def annotations(obj: KubeObject) -> Mapping[str, str]:
    """The annotations, empty when there are none."""
    return obj.metadata.annotations or _NOTHING


_meta_of: Final = attrgetter(
    *(set(ObjectMeta.__struct_fields__) - {"resource_version", "generation"})
)  # all in one call


def same_meta(one: ObjectMeta, two: ObjectMeta) -> bool:
    """Whether two are equal apart from resourceVersion and generation."""
    return _meta_of(one) == _meta_of(two)


def same_but_rv(one: Struct, two: Struct) -> bool:
    """Whether two versions of an object are equal apart from resourceVersion and generation."""
    if type(one) is not type(two):
        return False
    for name in one.__struct_fields__:
        left, right = getattr(one, name), getattr(two, name)
        if left is right:
            continue
        if name == "metadata":
            if not same_meta(left, right):
                return False
        elif left != right:
            return False
    return True
