# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions of our kinds, as data.

Names, versions and columns stand here; fields come from the Structs. Both versions are served, v2 is stored, conversion is None: the
versions differ in defaults alone, and the API server stores a default with the object, so that an object keeps the meaning it was
written with. How they become YAML is the command's business.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS, LBNodeAgent, LBNodeStatus, ServiceGroup
from purelb.api.leases import NAME_LABEL, PRODUCT
from purelb.api.schema import Version, object_schema
from purelb.api.words import GROUP, VERSION
from purelb.kube.resources import Resource

Kind = type[ServiceGroup] | type[LBNodeAgent] | type[LBNodeStatus]


class Column(Struct, frozen=True):
    """A column of `kubectl get`; `wide` ones appear with `-o wide`."""

    name: str
    type: str
    path: str
    wide: bool = False


class Definition(Struct, frozen=True, kw_only=True):
    """What a CRD has besides its schema."""

    resource: Resource[Any]
    singular: str
    short_names: tuple[str, ...]
    versions: tuple[Version, ...]
    status_subresource: bool
    columns: tuple[Column, ...]


_READY: Final = '.status.conditions[?(@.type=="Ready")].status'
_AGE: Final = Column("Age", "date", ".metadata.creationTimestamp")

DEFINITIONS: Final = (
    Definition(
        resource=SERVICE_GROUPS,
        singular="servicegroup",
        short_names=("sg", "sgs"),
        versions=("v1", "v2"),
        status_subresource=True,
        columns=(
            Column("Announce", "string", ".status.announce"),
            Column("IPAM", "string", ".status.ipam"),
            Column("Allocated-V4", "integer", ".status.allocatedIPv4"),
            Column("Allocated-V6", "integer", ".status.allocatedIPv6"),
            Column("Ready", "string", _READY),
            Column("Addresses", "string", ".status.addresses", wide=True),
            Column("Available-V4", "integer", ".status.availableIPv4", wide=True),
            Column("Available-V6", "integer", ".status.availableIPv6", wide=True),
            Column("Namespaces", "string", ".spec.namespaces", wide=True),
            Column("Enforced", "boolean", ".spec.enforceNamespaces", wide=True),
            Column("Bound", "string", ".status.boundNamespaces", wide=True),
            _AGE,
        ),
    ),
    Definition(
        resource=LB_NODE_AGENTS,
        singular="lbnodeagent",
        short_names=("lbna", "lbnas"),
        versions=("v1", "v2"),
        status_subresource=True,
        columns=(
            Column("Interface", "string", ".spec.local.localInterface"),
            Column("Dummy", "string", ".spec.local.dummyInterface"),
            Column("Nodes", "integer", ".status.nodes"),
            Column("Ready", "string", _READY),
            _AGE,
        ),
    ),
    Definition(
        resource=LB_NODE_STATUSES,
        singular="lbnodestatus",
        short_names=("lbns",),
        versions=("v2",),
        status_subresource=False,
        columns=(
            Column("State", "string", ".status.failureDetection.state"),
            Column("Config", "string", ".status.config.state"),
            Column("Announced", "integer", ".status.announcedCount"),
            Column("Remote", "integer", ".status.remote.count"),
            Column("Withheld", "integer", ".status.withheldCount"),
            _AGE,
        ),
    ),
)


def custom_resource_definition(definition: Definition) -> dict[str, Any]:
    """The whole object, ready to be applied."""
    resource = definition.resource
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name, "labels": {NAME_LABEL: PRODUCT}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": definition.singular,
                "shortNames": list(definition.short_names),
            },
            "conversion": {"strategy": "None"},
            "versions": [_version(definition, version) for version in definition.versions],
        },
    }


def all_definitions() -> Mapping[str, dict[str, Any]]:
    """Every CRD by its name, in a fixed order."""
    return {found.resource.name: custom_resource_definition(found) for found in DEFINITIONS}


def _version(definition: Definition, version: Version) -> dict[str, Any]:
    kind: Kind = definition.resource.type
    schema = object_schema(kind, version=version)
    schema["description"] = (kind.__doc__ or "").split("\n", 1)[0]
    told: dict[str, Any] = {
        "name": version,
        "served": True,
        "storage": version == VERSION,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [_column(column) for column in definition.columns],
    }
    if definition.status_subresource:
        told["subresources"] = {"status": {}}
    return told


def _column(column: Column) -> dict[str, Any]:
    told: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.wide:
        told["priority"] = 1
    return told
