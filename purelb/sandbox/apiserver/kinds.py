# SPDX-License-Identifier: Apache-2.0
"""Which kinds this server knows, as data: names, scope, versions, subresources and verbs.

Built-in kinds are a table; custom ones are made from their CustomResourceDefinition by `customs`. A kind that nothing
of ours, of the shipped manifests or of kubectl touches has no row: its path answers 404, and that is the truth.
Rules of a kind are elsewhere (`rules`, `services`, `schema`); here is only what a path and discovery must know.
"""

from collections.abc import Iterable, Iterator

import msgspec

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One resource, in all its served versions. `key` names its collection in the store."""

    group: str
    versions: tuple[str, ...]  # served, the preferred one first
    storage: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    list_kind: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    custom: bool = False
    generation: bool = False  # metadata.generation counts spec changes
    dns: str = "subdomain"  # how names are checked: subdomain, label, label1035, path, rbac
    also_in: tuple[str, str] | None = None  # a second (group, version) that shows the same objects

    @property
    def key(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def listing(self) -> str:
        return self.list_kind or f"{self.kind}List"

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version

    @property
    def stored_as(self) -> str:
        return self.api_version(self.storage)


def _kind(
    path: str,
    kind: str,
    *,
    namespaced: bool = True,
    plural: str = "",
    short: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    subresources: tuple[str, ...] = (),
    generation: bool = False,
    dns: str = "subdomain",
    also_in: tuple[str, str] | None = None,
) -> Kind:
    group, _, version = path.rpartition("/")
    return Kind(
        group=group,
        versions=(version,),
        storage=version,
        plural=plural or kind.lower() + "s",
        singular=kind.lower(),
        kind=kind,
        namespaced=namespaced,
        short=short,
        categories=categories,
        subresources=subresources,
        generation=generation,
        dns=dns,
        also_in=also_in,
    )


_ALL = ("all",)
BUILT_IN: tuple[Kind, ...] = (
    _kind("v1", "ConfigMap", short=("cm",)),
    _kind("v1", "Endpoints", plural="endpoints", short=("ep",)),
    _kind("v1", "Event", short=("ev",), also_in=("events.k8s.io", "v1")),
    _kind("v1", "Namespace", namespaced=False, short=("ns",), subresources=("finalize", "status"), dns="label"),
    _kind("v1", "Node", namespaced=False, short=("no",), subresources=("status",)),
    _kind("v1", "Pod", short=("po",), categories=_ALL, subresources=("binding", "status"), generation=True),
    _kind("v1", "Secret"),
    _kind("v1", "ServiceAccount", short=("sa",), subresources=("token",)),
    _kind("v1", "Service", short=("svc",), categories=_ALL, subresources=("status",), dns="label1035"),
    _kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", namespaced=False, generation=True,
          plural="validatingadmissionpolicies", categories=("api-extensions",), subresources=("status",)),
    _kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", namespaced=False, generation=True,
          categories=("api-extensions",)),
    _kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", namespaced=False, short=("crd", "crds"), generation=True,
          categories=("api-extensions",), subresources=("status",)),
    _kind("apps/v1", "DaemonSet", short=("ds",), categories=_ALL, subresources=("status",), generation=True),
    _kind("apps/v1", "Deployment", short=("deploy",), categories=_ALL, subresources=("status",), generation=True),
    _kind("apps/v1", "ReplicaSet", short=("rs",), categories=_ALL, subresources=("status",), generation=True),
    _kind("coordination.k8s.io/v1", "Lease"),
    _kind("discovery.k8s.io/v1", "EndpointSlice", generation=True),
    _kind("networking.k8s.io/v1", "NetworkPolicy", plural="networkpolicies", short=("netpol",), generation=True),
    _kind("policy/v1", "PodDisruptionBudget", short=("pdb",), subresources=("status",), generation=True),
    _kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", namespaced=False, dns="path"),
    _kind("rbac.authorization.k8s.io/v1", "ClusterRole", namespaced=False, dns="path"),
    _kind("rbac.authorization.k8s.io/v1", "RoleBinding", dns="path"),
    _kind("rbac.authorization.k8s.io/v1", "Role", dns="path"),
    _kind("scheduling.k8s.io/v1", "PriorityClass", namespaced=False, plural="priorityclasses", short=("pc",), generation=True),
)  # fmt: skip


class Registry:
    """Every kind by the group, version and plural of its path. Changes only when a CustomResourceDefinition does."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._routes: dict[tuple[str, str, str], Kind] = {}
        self.epoch = 0
        for kind in BUILT_IN:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        self.remove(kind.key)
        self._kinds[kind.key] = kind
        for group, version in served(kind):
            self._routes[group, version, kind.plural] = kind

    def remove(self, key: str) -> None:
        kind = self._kinds.pop(key, None)
        self.epoch += 1
        if kind is not None:
            for group, version in served(kind):
                del self._routes[group, version, kind.plural]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._routes.get((group, version, plural))

    def get(self, key: str) -> Kind | None:
        return self._kinds.get(key)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def group_versions(self) -> dict[str, list[str]]:
        """Each group with its versions, the preferred first; groups in the order kubectl shows them."""
        found: dict[str, list[str]] = {"": ["v1"]}
        for kind in self._kinds.values():
            for group, version in served(kind):
                versions = found.setdefault(group, [])
                if version not in versions:
                    versions.append(version)
        return {group: sorted(versions, key=_version_order) for group, versions in found.items()}

    def in_group_version(self, group: str, version: str) -> list[Kind]:
        return sorted(
            (kind for kind in self._kinds.values() if (group, version) in served(kind)), key=lambda kind: kind.plural
        )


def served(kind: Kind) -> Iterable[tuple[str, str]]:
    yield from ((kind.group, version) for version in kind.versions)
    if kind.also_in is not None:
        yield kind.also_in


def _version_order(version: str) -> tuple[int, int, int]:
    """GA before beta before alpha, higher numbers first; what is no Kubernetes version comes last."""
    stage, digits = 3, ""
    for word, rank in (("alpha", 2), ("beta", 1)):
        if word in version:
            stage, digits = rank, version.partition(word)[2]
            version = version.partition(word)[0]
    major = version.removeprefix("v")
    if not major.isdecimal():
        return (9, 0, 0)
    return (0 if stage == 3 else stage, -int(major), -int(digits) if digits.isdecimal() else 0)
