# SPDX-License-Identifier: Apache-2.0
"""Writes `wire_names.json` anew: the names and types that a real API server gives to the fields that our Structs have.

    python -m tests.kube.recorded.refresh      (needs the control plane of hack/, see hack/control_plane.py)

Only the fields of our Structs are kept, so the file changes when the server, or a Struct, does. A field that the server does
not know is left out, and the test says which.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hack.control_plane import ControlPlane
from purelb.kube import model, resources

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).with_name("wire_names.json")
KINDS: Final = tuple(
    each
    for each in vars(resources).values()
    if isinstance(each, resources.Resource) and each.type is not model.PartialObject
)


def struct_in(kind: msgspec.inspect.Type) -> msgspec.inspect.StructType | None:
    """The Struct that a field holds: itself, or in a list, or beside null."""
    match kind:
        case msgspec.inspect.StructType():
            return kind
        case msgspec.inspect.VarTupleType(item_type=inner):
            return struct_in(inner)
        case msgspec.inspect.UnionType(types=types):
            return next((found for found in map(struct_in, types) if found is not None), None)
        case _:
            return None


def resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    for inner in (schema, *schema.get("allOf", ())):
        if "$ref" in inner:
            return resolved(schemas[inner["$ref"].rpartition("/")[2]], schemas)
    return schema


def names(struct: msgspec.inspect.StructType, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Wire name to type, to the names of an inner Struct, or to a list of one of these."""
    out: dict[str, Any] = {}
    for field in struct.fields:
        wire = field.encode_name
        if wire not in schema.get("properties", {}):
            continue
        found = resolved(schema["properties"][wire], schemas)
        inner = struct_in(field.type)
        if found.get("type") == "array":
            item = resolved(found["items"], schemas)
            out[wire] = [names(inner, item, schemas) if inner else item["type"]]
        elif inner is not None:
            out[wire] = names(inner, found, schemas)
        else:
            out[wire] = "map" if "additionalProperties" in found else found.get("type", "any")
    return out


def main() -> None:
    """Ask a control plane of our own."""
    recorded: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory, ControlPlane.start(Path(directory, "cp")) as plane:
        version = plane.api().get("/version").ok()["gitVersion"]
        for resource in KINDS:
            path = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
            schemas = plane.api().get(f"/openapi/v3/{path}").ok()["components"]["schemas"]
            schema = next(
                each
                for each in schemas.values()
                for gvk in each.get("x-kubernetes-group-version-kind", ())
                if (gvk["group"], gvk["version"], gvk["kind"]) == (resource.group, resource.version, resource.kind)
            )
            struct = msgspec.inspect.type_info(resource.type)
            assert isinstance(struct, msgspec.inspect.StructType)
            recorded[resource.kind] = names(struct, schema, schemas)
    origin = f"OpenAPI of kube-apiserver {version}, written by tests/kube/recorded/refresh.py"
    FILE.write_text(json.dumps({"origin": origin, "kinds": recorded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
