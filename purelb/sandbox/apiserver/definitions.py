# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinitions: checked, completed, and turned into a `Custom`: a kind with one schema per version.

A definition that is accepted is established at once: its routes and its discovery appear in the same revision.
Conversion is `None` only; a webhook is refused, since nothing here would call it. The one rule of versions: an object
gets the defaults of the version it comes in and of the one it is stored in, and shows the fields of the one it is read in.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import FieldError, Obj, invalid, required, unsupported
from purelb.sandbox.apiserver.defaults import compile_schema
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.names import LABEL_1035_TEXT, is_label, is_subdomain
from purelb.sandbox.apiserver.schema import Node

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


class Column(msgspec.Struct, frozen=True):
    name: str
    type: str
    path: str
    format: str = ""
    description: str = ""
    priority: int = 0


class CustomVersion(msgspec.Struct, frozen=True, kw_only=True):
    node: Node
    schema: Mapping[str, Any]
    has_status: bool
    scale: Mapping[str, str] | None
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]


class Custom(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted definition. `epoch` tells objects defaulted under it from those of before its last change."""

    kind: Kind
    versions: Mapping[str, CustomVersion]  # unserved ones too: objects may still be stored in them
    epoch: int


def complete_definition(obj: Obj) -> None:
    """Defaults of a definition, in place. Tolerates any shape: `check_definition` speaks afterwards."""
    spec = obj.setdefault("spec", {})
    if not isinstance(spec, dict):
        return
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")


def check_definition(obj: Obj, old: Obj | None, *, epoch: int) -> tuple[Custom | None, list[FieldError]]:
    """The compiled definition, or every mistake found with its path."""
    errors: list[FieldError] = []
    spec = obj["spec"]
    try:
        written = msgspec.convert(spec, _Spec)
    except msgspec.ValidationError as error:
        return None, [invalid("spec", "object", str(error))]
    names = written.names
    if obj["metadata"].get("name") != f"{names.plural}.{written.group}":
        errors.append(
            invalid("metadata.name", obj["metadata"].get("name", ""), 'must be spec.names.plural+"."+spec.group')
        )
    if not is_subdomain(written.group) or "." not in written.group:
        errors.append(invalid("spec.group", written.group, "should be a domain with at least one dot"))
    errors += _check_names(names)
    for index, version in enumerate(written.versions):
        if not is_label(version.name) or version.name[0].isdigit():
            errors.append(invalid(f"spec.versions[{index}].name", version.name, LABEL_1035_TEXT))
    if written.scope not in {"Cluster", "Namespaced"}:
        errors.append(unsupported("spec.scope", written.scope, ("Cluster", "Namespaced")))
    if written.conversion.get("strategy") != "None":
        errors.append(unsupported("spec.conversion.strategy", written.conversion.get("strategy"), ("None",)))
    stored = [version.name for version in written.versions if version.storage]
    if len(stored) != 1:
        errors.append(
            invalid(
                "spec.versions",
                [version.name for version in written.versions],
                "must have exactly one version marked as storage version",
            )
        )
    if len({version.name for version in written.versions}) != len(written.versions):
        errors.append(
            invalid(
                "spec.versions", [version.name for version in written.versions], "must contain unique version names"
            )
        )
    for gone in ((old or {}).get("status") or {}).get("storedVersions") or ():
        if gone not in {version.name for version in written.versions}:
            errors.append(
                invalid(
                    "status.storedVersions",
                    gone,
                    f"missing from spec.versions; {gone} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {gone} and removes {gone} from status.storedVersions",
                )
            )
    for path, now, before in (("spec.scope", spec.get("scope"), ((old or {}).get("spec") or {}).get("scope")),
                              ("spec.names.kind", names.kind, (((old or {}).get("spec") or {}).get("names") or {}).get("kind"))):  # fmt: skip
        if before is not None and now != before:
            errors.append(invalid(path, now, "field is immutable"))
    versions = {
        version.name: _compile(version, f"spec.versions[{index}]", errors, alone=len(written.versions) == 1)
        for index, version in enumerate(written.versions)
    }
    if errors:
        return None, errors
    served = tuple(version.name for version in written.versions if version.served)
    kind = Kind(
        group=written.group,
        versions=served,
        storage=stored[0],
        plural=names.plural,
        singular=names.singular,
        kind=names.kind,
        list_kind=names.listKind,
        namespaced=written.scope == "Namespaced",
        short=tuple(names.shortNames),
        categories=tuple(names.categories),
        subresources=tuple(
            name
            for name, has in (
                ("status", any(version.has_status for version in versions.values())),
                ("scale", any(version.scale is not None for version in versions.values())),
            )
            if has
        ),
        custom=True,
        generation=True,
    )
    return Custom(kind=kind, versions=versions, epoch=epoch), []


class _Names(msgspec.Struct):
    plural: str
    kind: str
    singular: str = ""
    listKind: str = ""  # noqa: N815 - wire name
    shortNames: list[str] = []  # noqa: N815 - wire name
    categories: list[str] = []


class _ColumnWritten(msgspec.Struct):
    name: str
    type: str
    jsonPath: str  # noqa: N815 - wire name
    format: str = ""
    description: str = ""
    priority: int = 0


class _Version(msgspec.Struct):
    name: str
    served: bool = False
    storage: bool = False
    schema: dict[str, Any] | None = None
    subresources: dict[str, dict[str, Any] | None] | None = None
    additionalPrinterColumns: list[_ColumnWritten] = []  # noqa: N815 - wire name
    selectableFields: list[dict[str, str]] = []  # noqa: N815 - wire name
    deprecated: bool = False
    deprecationWarning: str | None = None  # noqa: N815 - wire name


class _Spec(msgspec.Struct):
    group: str
    names: _Names
    scope: str
    versions: list[_Version]
    conversion: dict[str, Any] = {}
    preserveUnknownFields: bool = False  # noqa: N815 - wire name


def _check_names(names: _Names) -> Iterator[FieldError]:
    for path, value in (
        ("plural", names.plural),
        ("singular", names.singular),
        *((f"shortNames[{index}]", name) for index, name in enumerate(names.shortNames)),
    ):
        if not is_label(value) or value[0].isdigit():
            yield invalid(f"spec.names.{path}", value, LABEL_1035_TEXT)
    if not names.kind or not is_label(names.kind.lower()):
        yield invalid(
            "spec.names.kind", names.kind, "may have mixed case, but should otherwise match: " + LABEL_1035_TEXT
        )


_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


def _compile(version: _Version, path: str, errors: list[FieldError], *, alone: bool) -> CustomVersion:
    """`alone`: the only version, whose schema the real server's messages place elsewhere."""
    schema = (version.schema or {}).get("openAPIV3Schema")
    at = "spec.validation.openAPIV3Schema" if alone else f"{path}.schema.openAPIV3Schema"
    if schema is None:
        errors.append(required(f"{path}.schema.openAPIV3Schema"))
    node = compile_schema(schema or {"type": "object"}, at, errors)
    if node.type != "object":
        errors.append(invalid(f"{at}.type", node.type, "must be object at the root"))
    for index, column in enumerate(version.additionalPrinterColumns):
        if column.type not in _COLUMN_TYPES:
            errors.append(unsupported(f"{path}.additionalPrinterColumns[{index}].type", column.type, _COLUMN_TYPES))
        if not column.jsonPath.startswith("."):
            errors.append(
                invalid(
                    f"{path}.additionalPrinterColumns[{index}].jsonPath",
                    column.jsonPath,
                    "must be a simple json path starting with .",
                )
            )
    subresources = version.subresources or {}
    scale = subresources.get("scale")
    return CustomVersion(
        node=node,
        schema=schema or {},
        has_status="status" in subresources,
        scale={name: str(value) for name, value in scale.items()} if scale else None,
        columns=tuple(
            Column(column.name, column.type, column.jsonPath, column.format, column.description, column.priority)
            for column in version.additionalPrinterColumns
        ),
        selectable=tuple(
            field["jsonPath"].removeprefix(".") for field in version.selectableFields if "jsonPath" in field
        ),
    )


def established(obj: Obj, old: Obj | None, *, at: str) -> None:
    """Write the status of an accepted definition, in place."""
    spec, before = obj["spec"], ((old or {}).get("status") or {})
    stored = list(before.get("storedVersions") or [])
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    if storage not in stored:
        stored.append(storage)
    conditions = before.get("conditions") or [
        {
            "type": "NamesAccepted",
            "status": "True",
            "lastTransitionTime": at,
            "reason": "NoConflicts",
            "message": "no conflicts found",
        },
        {
            "type": "Established",
            "status": "True",
            "lastTransitionTime": at,
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        },
    ]
    obj["status"] = {"conditions": conditions, "acceptedNames": dict(spec["names"]), "storedVersions": stored}
