# SPDX-License-Identifier: Apache-2.0
"""Where each kind lives on an API server. Other packages declare resources of their own the same way."""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

from msgspec import Struct

from purelb.kube import model

T = TypeVar("T", bound=model.KubeObject)

_SEGMENT: Final = re.compile(r"(?!\.\.?\Z)[^/%?#\x00-\x20\x7f-\x9f\ud800-\udfff]+")
"""Half of a character (what a terminal made of bytes that are no text) would be left out on the way, and the name with it."""


def segment(text: str) -> str:
    """`text` as one segment of a path. Raises ValueError for what could leave it: nothing is escaped, all is refused."""
    if _SEGMENT.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} cannot be part of a path: it must not be empty, . or .., nor hold / % ? #, blanks or half a character"
        )
    return text


class Resource(Struct, Generic[T], frozen=True, kw_only=True):
    """A kind as the API server serves it. `complete`: the Struct knows every field, so it may be PUT."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    type: type[T]
    complete: bool = False
    metadata_only: bool = False

    @property
    def api_version(self) -> str:
        """`v1`, or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """`plural`, or `plural.group`: for people, metrics and logs."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection or an object; `namespace=None` on a namespaced resource means all namespaces.

        Raises ValueError for a namespace on a cluster-scoped resource and for segments that could leave their place.
        """
        if namespace is not None and not self.namespaced:
            raise ValueError(f"{self.name} is cluster-scoped, so it cannot be asked for in namespace {namespace!r}")
        if name is not None and namespace is None and self.namespaced:
            raise ValueError(f"{self.name} {name!r} needs a namespace")
        parts = ["/apis", segment(self.group), segment(self.version)] if self.group else ["/api", segment(self.version)]
        if namespace is not None:
            parts += ["namespaces", segment(namespace)]
        parts.append(segment(self.plural))
        if name is not None:
            parts.append(segment(name))
            if subresource is not None:
                parts.append(segment(subresource))
        return "/".join(parts)


class Access(Struct, frozen=True, kw_only=True):
    """One row of a component's access table: what it may ask for, and why it needs to.

    `namespaces` None: the whole cluster; `names` None: any object (a `create` cannot be bound to a name, as the server
    does not know it yet when it authorizes). The client refuses calls outside the table and the RBAC rules are made
    from the same rows.
    """

    group: str = ""
    resource: str
    subresource: str = ""
    verbs: tuple[str, ...]
    namespaces: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    reason: str = ""


NAMESPACES: Final = Resource(
    group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False, type=model.Namespace
)
NODES: Final = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False, type=model.Node)
PODS: Final = Resource(group="", version="v1", plural="pods", kind="Pod", namespaced=True, type=model.Pod)
SERVICES: Final = Resource(
    group="", version="v1", plural="services", kind="Service", namespaced=True, type=model.Service
)
SECRETS: Final = Resource(
    group="",
    version="v1",
    plural="secrets",
    kind="Secret",
    namespaced=True,
    type=model.PartialObject,
    metadata_only=True,
)
CONFIG_MAPS: Final = Resource(
    group="",
    version="v1",
    plural="configmaps",
    kind="ConfigMap",
    namespaced=True,
    type=model.PartialObject,
    metadata_only=True,
)
ENDPOINT_SLICES: Final = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    kind="EndpointSlice",
    namespaced=True,
    type=model.EndpointSlice,
)
LEASES: Final = Resource(
    group="coordination.k8s.io", version="v1", plural="leases", kind="Lease", namespaced=True, type=model.Lease
)
EVENTS: Final = Resource(
    group="events.k8s.io", version="v1", plural="events", kind="Event", namespaced=True, type=model.Event
)
CRDS: Final = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
    type=model.CustomResourceDefinition,
)
ACCESS_REVIEWS: Final = Resource(
    group="authorization.k8s.io",
    version="v1",
    plural="selfsubjectaccessreviews",
    kind="SelfSubjectAccessReview",
    namespaced=False,
    type=model.SelfSubjectAccessReview,
)
SELF_REVIEWS: Final = Resource(
    group="authentication.k8s.io",
    version="v1",
    plural="selfsubjectreviews",
    kind="SelfSubjectReview",
    namespaced=False,
    type=model.SelfSubjectReview,
)
