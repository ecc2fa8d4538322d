# SPDX-License-Identifier: Apache-2.0
"""The CRDs: committed files are what the Structs make, versions differ in defaults alone, and everything has a bound."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from purelb.api.crds import DEFINITIONS, all_definitions
from purelb.api.kinds import LBNodeAgent, LBNodeStatus, ServiceGroup
from purelb.api.schema import object_schema
from purelb.cli import crds as command
from purelb.kube.model import ObjectMeta
from tests.api.examples import EXAMPLES, Example

COMMITTED = Path(__file__).parents[2] / "crds"
CRDS = all_definitions()

# Structural schemas in Kubernetes 1.25 know these; `$ref`, `oneOf` around types and the like are not among them.
KEYWORDS = {
    "type",
    "description",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "maxProperties",
    "maxItems",
    "maxLength",
    "minLength",
    "minimum",
    "maximum",
    "format",
    "enum",
    "pattern",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
}


def schemas(crd: dict[str, Any]) -> dict[str, Any]:
    return {version["name"]: version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"]}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(schema[keyword], f"{path}[]")


def every_node() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, crd in CRDS.items():
        for version, schema in schemas(crd).items():
            yield from nodes(schema, f"{name}/{version}:")


def without_defaults(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: without_defaults(value) for key, value in schema.items() if key != "default"}
    return [without_defaults(value) for value in schema] if isinstance(schema, list) else schema


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    return {path: node["default"] for path, node in nodes(schema) if "default" in node}


def test_the_committed_files_are_what_the_structs_make() -> None:
    assert {path.name: path.read_text() for path in COMMITTED.glob("*.yaml")} == dict(command.files())


def test_a_committed_file_says_in_its_first_line_what_made_it() -> None:
    for path in COMMITTED.glob("*.yaml"):
        assert path.read_text().startswith("# Made by `purelb crds`")


def test_the_yaml_reads_back_to_the_definition() -> None:
    for name, text in command.files().items():
        assert yaml.safe_load(text) == CRDS[name.removesuffix(".yaml")]
        assert "&id" not in text


@pytest.mark.parametrize("name", ["servicegroups.purelb.io", "lbnodeagents.purelb.io"])
def test_v1_and_v2_are_equal_apart_from_defaults(name: str) -> None:
    both = schemas(CRDS[name])
    assert without_defaults(both["v1"]) == without_defaults(both["v2"])


def test_the_defaults_that_differ_are_those_of_the_table() -> None:
    both = schemas(CRDS["servicegroups.purelb.io"])
    one, two = defaults(both["v1"]), defaults(both["v2"])
    assert one.keys() == two.keys()
    assert {path: (one[path], two[path]) for path in one if one[path] != two[path]} == {
        ".spec.local.offSubnet": ("Dummy", "Withhold"),
        ".spec.netbox.offSubnet": ("Dummy", "Withhold"),
        ".spec.netbox.announce": ("local", "remote"),
        ".spec.netbox.plainHTTP": (True, False),
    }
    agents = schemas(CRDS["lbnodeagents.purelb.io"])
    assert defaults(agents["v1"]) == defaults(agents["v2"])


def test_the_interfaces_have_no_default_that_would_hide_their_v1_names() -> None:
    found = defaults(schemas(CRDS["lbnodeagents.purelb.io"])["v2"])
    assert not {".spec.local.localInterface", ".spec.local.dummyInterface"} & found.keys()


def test_every_string_list_and_map_has_a_bound() -> None:
    for path, node in every_node():
        if node["type"] == "string":
            assert "maxLength" in node, path
        if node["type"] == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_every_keyword_is_one_of_a_structural_schema() -> None:
    for path, node in every_node():
        assert node.keys() <= KEYWORDS, path


def test_every_pattern_is_anchored_and_accepts_what_its_default_says() -> None:
    for path, node in every_node():
        if "pattern" in node:
            assert re.fullmatch(r"\^.*\$", node["pattern"]), path
            assert re.search(node["pattern"], node.get("default", "")) or "default" not in node, path


def test_every_rule_has_the_message_that_people_read() -> None:
    rules = [rule for _, node in every_node() for rule in node.get("x-kubernetes-validations", ())]
    assert rules
    for rule in rules:
        assert rule.keys() == {"rule", "message"}
        assert rule["message"]
        assert "\n" not in rule["rule"]


@pytest.mark.parametrize(
    ("name", "names", "versions", "status"),
    [
        ("servicegroups.purelb.io", ["servicegroup", "sg", "sgs"], ["v1", "v2"], True),
        ("lbnodeagents.purelb.io", ["lbnodeagent", "lbna", "lbnas"], ["v1", "v2"], True),
        ("lbnodestatuses.purelb.io", ["lbnodestatus", "lbns"], ["v2"], False),
    ],
)
def test_a_kind_is_served_as_the_table_of_kinds_says(
    name: str, names: list[str], versions: list[str], status: bool
) -> None:
    spec = CRDS[name]["spec"]
    assert [spec["names"]["singular"], *spec["names"]["shortNames"]] == names
    assert spec["scope"] == "Namespaced"
    assert spec["conversion"] == {"strategy": "None"}
    assert [(version["name"], version["served"], version["storage"]) for version in spec["versions"]] == [
        (version, True, version == "v2") for version in versions
    ]
    assert all(("subresources" in version) is status for version in spec["versions"])


def test_every_column_of_a_status_or_spec_is_a_field_of_the_schema() -> None:
    for crd in CRDS.values():
        for version in crd["spec"]["versions"]:
            known = {path for path, _ in nodes(version["schema"]["openAPIV3Schema"])}
            for column in version["additionalPrinterColumns"]:
                path = column["jsonPath"].partition("[")[0]
                assert path in known or path == ".metadata.creationTimestamp"


def test_a_type_without_a_schema_is_an_error_and_never_a_guess() -> None:
    class Odd(msgspec.Struct):
        when: float = 0.0

    with pytest.raises(TypeError, match="has no schema"):
        object_schema(Odd, version="v2")

    class Either(msgspec.Struct):
        what: int | str = 0

    with pytest.raises(TypeError, match="more than one type"):
        object_schema(Either, version="v2")


def test_every_field_of_the_schema_is_a_field_of_the_struct_and_decodes() -> None:
    for definition in DEFINITIONS:
        schema = schemas(CRDS[definition.resource.name])["v2"]
        whole = msgspec.convert(sample(schema) | {"kind": definition.resource.kind}, definition.resource.type)
        told = msgspec.to_builtins(whole)
        for path in (path for path, node in nodes(schema) if node["type"] not in {"object", "array"}):
            if path.startswith((".spec", ".status")) and "[]" not in path:
                assert reach(told, path.split(".")[1:]) is not None, path


def sample(schema: dict[str, Any]) -> Any:
    """A value of the schema with every field present."""
    match schema["type"]:
        case "object":
            return {name: sample(below) for name, below in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema["items"])]
        case "integer":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return (schema.get("enum") or ["x"])[0]


def reach(told: Any, path: list[str]) -> Any:
    for name in path:
        told = told[name]
    return told


@pytest.mark.parametrize("kind", [ServiceGroup, LBNodeAgent, LBNodeStatus])
def test_an_object_with_nothing_but_metadata_decodes(kind: type[msgspec.Struct]) -> None:
    bookmark = b'{"metadata":{"name":"x","resourceVersion":"7"}}'
    decoded: Any = msgspec.json.decode(bookmark, type=kind)
    assert decoded.metadata == ObjectMeta(name="x", resource_version="7")


@pytest.mark.parametrize("kind", [ServiceGroup, LBNodeAgent, LBNodeStatus])
def test_an_object_whose_lists_and_parts_are_null_decodes(kind: type[msgspec.Struct]) -> None:
    schema = schemas(CRDS[next(d.resource.name for d in DEFINITIONS if d.resource.type is kind)])["v2"]

    def nulled(part: dict[str, Any]) -> Any:
        return {
            name: nulled(below) if below.get("properties") and name in {"spec", "status"} else None
            for name, below in part["properties"].items()
            if below["type"] in {"object", "array"} and name != "metadata"
        }

    msgspec.convert(nulled(schema) | {"kind": kind.__name__}, kind)
    msgspec.convert({"kind": kind.__name__, "spec": None, "status": None}, kind)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.refused is None], ids=lambda e: e.name)
def test_what_admission_accepts_decodes(example: Example) -> None:
    kind = {"ServiceGroup": ServiceGroup, "LBNodeAgent": LBNodeAgent}[example.kind]
    decoded: Any = msgspec.convert(example.object, kind, strict=True)
    assert decoded.spec is not None


def test_examples_have_different_names() -> None:
    assert len({(example.kind, example.name) for example in EXAMPLES}) == len(EXAMPLES)


def test_a_difference_is_found_in_both_directions_below_a_schema_and_in_ours_elsewhere() -> None:
    (here, *_) = CRDS.values()
    there = copy.deepcopy(here)
    there["metadata"]["uid"] = "1"
    there["spec"]["preserveUnknownFields"] = False
    assert list(command.differences(here, there)) == []
    there["spec"]["names"]["shortNames"] = ["sg"]
    schema = there["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["more"] = {"type": "string"}
    schema["drain"]["default"] = True
    below = "spec.versions[1].schema.openAPIV3Schema.properties.spec.properties"
    assert sorted(command.differences(here, there)) == [
        'spec.names.shortNames: ["sg"] in the cluster, ["sg","sgs"] here',
        f"{below}.drain.default: true in the cluster, false here",
        f'{below}.more: {{"type":"string"}} in the cluster, nothing here',
    ]
