# SPDX-License-Identifier: Apache-2.0
"""Definitions and custom resources: structural schemas, pruning, defaults, rules. Versions and subresources: `test_custom_versions`."""

from typing import Any

import pytest

from tests.sandbox.apiserver.driver import (
    DEFINITIONS,
    TESTS,
    Api,
    custom,
    definition,
    fields,
)

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def define(api: Api, schema: dict[str, Any], **version: Any) -> None:
    made = api.post(DEFINITIONS, definition(schema, **version))
    assert made.code == 201, made.body


def rule(text: str, message: str = "no", **more: Any) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": text, "message": message} | more]}


def causes(answer: Any) -> list[tuple[str, str]]:
    return [(cause["field"], cause["message"]) for cause in answer.body["details"]["causes"]]


# --- definitions -----------------------------------------------------------------------------------------------------

SPEC = "spec.validation.openAPIV3Schema.properties[spec]"


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        pytest.param(fields(a={}), f"{SPEC}.properties[a].type", id="no type"),
        pytest.param({"type": "object", "properties": 1}, "spec.validation.openAPIV3Schema", id="properties that are none"),
        pytest.param(fields(a={"type": "odd"}), f"{SPEC}.properties[a].type", id="an odd type"),
        pytest.param(fields(a={"type": "array"}), f"{SPEC}.properties[a].items", id="an array without items"),
        pytest.param(fields(a=TEXT | {"default": 1}), f"{SPEC}.properties[a].default", id="a default that breaks its schema"),
        pytest.param(fields(a={"type": "object", "default": {"x": 1}, "properties": {"b": TEXT}}), f"{SPEC}.properties[a].default", id="a default with an unknown field"),
        pytest.param(fields(a=TEXT | {"oneOf": [{"type": "string"}]}), f"{SPEC}.properties[a].oneOf[0].type", id="a type below a logical word"),
        pytest.param(fields(a=TEXT | {"pattern": "("}), f"{SPEC}.properties[a].pattern", id="a pattern that is none"),
        pytest.param(fields(a=TEXT | {"$ref": "#"}), f"{SPEC}.properties[a].$ref", id="a reference"),
        pytest.param(fields(a={"type": "array", "items": TEXT, "uniqueItems": True}), f"{SPEC}.properties[a].uniqueItems", id="unique items"),
        pytest.param(fields(a=TEXT | rule("self ==")), f"{SPEC}.properties[a].x-kubernetes-validations[0].rule", id="a rule that does not parse"),
        pytest.param(fields(a=TEXT | rule("odd(self)")), f"{SPEC}.properties[a].x-kubernetes-validations[0].rule", id="a rule with an unknown function"),
        pytest.param(fields(a=TEXT | rule("self == other")), f"{SPEC}.properties[a].x-kubernetes-validations[0].rule", id="a rule with an unknown name"),
        pytest.param(fields(a={"type": "object", "properties": {"b": TEXT}, "additionalProperties": TEXT}), f"{SPEC}.properties[a].additionalProperties", id="both kinds of properties"),
        pytest.param(fields(a={"type": "array", "items": {"type": "object", "properties": {"k": TEXT}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}), f"{SPEC}.properties[a].items.properties[k].default", id="an optional map key"),
    ],
)  # fmt: skip
def test_a_schema_is_refused_with_its_path_for(api: Api, schema: dict[str, Any], path: str) -> None:
    answer = api.post(DEFINITIONS, definition(schema))
    assert answer.code == 422
    assert path in [field for field, _ in causes(answer)]
    assert api.get(TESTS).code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"group": "nodot"}, "spec.group"),
        ({"scope": "Odd"}, "spec.scope"),
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.strategy"),
        ({"versions": []}, "spec.versions"),
        ({"names": {"plural": "Tests", "kind": "Test"}}, "spec.names.plural"),
        ({"names": 5}, "spec"),
    ],
)
def test_a_definition_is_refused_for(api: Api, change: dict[str, Any], field: str) -> None:
    written = definition()
    answer = api.post(DEFINITIONS, written | {"spec": written["spec"] | change})
    assert answer.code == 422
    assert field in [where for where, _ in causes(answer)]


def test_an_accepted_definition_is_established_and_discovered_in_the_same_revision(api: Api) -> None:
    made = api.post(DEFINITIONS, definition()).body
    assert {one["type"]: one["status"] for one in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert (made["status"]["storedVersions"], made["status"]["acceptedNames"]["listKind"]) == (["v1"], "TestList")
    assert api.get(TESTS).body["items"] == []
    assert "tests" in [one["name"] for one in api.get("/apis/example.com/v1").body["resources"]]


def test_a_stored_version_may_not_leave_the_definition(api: Api) -> None:
    define(api, fields())
    old = api.get(f"{DEFINITIONS}/tests.example.com").body
    old["spec"]["versions"][0]["name"] = "v2"
    answer = api.put(f"{DEFINITIONS}/tests.example.com", old)
    assert [field for field, _ in causes(answer)] == ["status.storedVersions"]


# --- objects ---------------------------------------------------------------------------------------------------------


def test_an_int_or_string_may_name_its_types(api: Api) -> None:
    either = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    define(api, fields(a=either))
    assert [api.post(TESTS, custom(f"n{index}", a=value)).code for index, value in enumerate((1, "80%", True))] == [
        201,
        201,
        422,
    ]


def test_unknown_fields_are_pruned_in_objects_arrays_and_maps_but_not_where_they_are_preserved(api: Api) -> None:
    item = {"type": "object", "properties": {"k": TEXT}}
    keep = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"deep": item}}
    define(
        api,
        fields(list={"type": "array", "items": item}, map={"type": "object", "additionalProperties": item}, keep=keep),
    )
    odd = {"k": "v", "x": 1}
    made = api.post(TESTS, custom(list=[odd], map={"a": odd}, keep={"any": [1], "deep": odd}, odd=1))
    assert made.body["spec"] == {
        "list": [{"k": "v"}],
        "map": {"a": {"k": "v"}},
        "keep": {"any": [1], "deep": {"k": "v"}},
    }
    assert "spec.list[0].x" in made.headers["warning"]


def test_defaults_fill_absent_fields_and_nulls_that_are_not_allowed(api: Api) -> None:
    define(
        api,
        fields(
            a=TEXT | {"default": "x"},
            n=TEXT | {"default": "x", "nullable": True},
            m=NUMBER,
            deep={"type": "object", "default": {}, "properties": {"b": NUMBER | {"default": 7}}},
        ),
    )
    assert api.post(TESTS, custom()).body["spec"] == {"a": "x", "n": "x", "deep": {"b": 7}}
    assert api.post(TESTS, custom("b", a=None, n=None, m=None)).body["spec"] == {"a": "x", "n": None, "deep": {"b": 7}}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (NUMBER, "x", "must be of type integer"),
        (TEXT, 1, "must be of type string"),
        (NUMBER | {"minimum": 1}, 0, "should be greater than or equal to 1"),
        (NUMBER | {"maximum": 3}, 4, "should be less than or equal to 3"),
        (NUMBER | {"format": "int32"}, 2**31, "int32"),
        (TEXT | {"minLength": 2}, "a", "at least 2 chars"),
        (TEXT | {"maxLength": 2}, "äöü", "Too long: may not be more than 2 bytes"),
        (TEXT | {"pattern": "^[a-z]+$"}, "ab\n", "should match"),
        (TEXT | {"enum": ["a", "b"]}, "c", 'supported values: "a", "b"'),
        (TEXT | {"format": "ipv4"}, "1.2.3", "must be of type ipv4"),
        (TEXT | {"format": "ipv6"}, "1.2.3.4", "must be of type ipv6"),
        (TEXT | {"format": "cidr"}, "192.0.2.1", "must be of type cidr"),
        (TEXT | {"format": "date-time"}, "yesterday", "must be of type date-time"),
        ({"type": "array", "items": NUMBER, "maxItems": 1}, [1, 2], "Too many: 2: must have at most 1 item"),
        ({"type": "array", "items": NUMBER, "minItems": 1}, [], "at least 1 items"),
        ({"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}, ["a", "a"], "Duplicate value"),
        ({"type": "object", "additionalProperties": NUMBER, "maxProperties": 1}, {"a": 1, "b": 2}, "Too many"),
        ({"type": "object", "properties": {"b": TEXT}, "required": ["b"]}, {}, "Required value"),
        ({"x-kubernetes-int-or-string": True}, 1.5, "must be of type integer,string"),
        (TEXT | {"not": {"enum": ["a"]}}, "a", "must not validate the schema (not)"),
        (TEXT | {"anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, "c", "at least one schema (anyOf)"),
        (TEXT | {"oneOf": [{"minLength": 1}, {"minLength": 2}]}, "abc", "one and only one schema (oneOf)"),
    ],
)  # fmt: skip
def test_a_value_is_judged_by(api: Api, schema: dict[str, Any], value: object, message: str) -> None:
    define(api, fields(a=schema))
    answer = api.post(TESTS, custom(a=value))
    assert answer.code == 422
    # Mistakes of oneOf, anyOf and not have no field of their own on the real server: the message names it.
    found = [(text if field == "<nil>" else field, text) for field, text in causes(answer)]
    assert any("spec.a" in where and message in text for where, text in found), found


def test_elements_of_a_map_list_have_distinct_keys(api: Api) -> None:
    item = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": NUMBER}}
    define(
        api,
        fields(
            l={"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
        ),
    )
    assert api.post(TESTS, custom(l=[{"k": "a", "v": 1}, {"k": "b", "v": 1}])).code == 201
    answer = api.post(TESTS, custom("b", l=[{"k": "a", "v": 1}, {"k": "a", "v": 2}]))
    assert ("spec.l[1]", 'Duplicate value: {"k":"a"}') in causes(answer)


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("has(self.a) != has(self.b)", {"a": 1}, {"a": 1, "b": 2}),
        ("!has(self.a) || self.a > 1", {}, {"a": 1}),
        ("!has(self.t) || isIP(self.t)", {"t": "2001:db8::1"}, {"t": "2001:db8::"[:-1]}),
        ("!has(self.t) || isCIDR(self.t)", {"t": "192.0.2.0/24"}, {"t": "192.0.2.0"}),
        ("!has(self.l) || self.l.isSorted()", {"l": [1, 2, 2]}, {"l": [2, 1]}),
        ("!has(self.l) || self.l.sum() < 5", {"l": [1, 2]}, {"l": [3, 4]}),
        ("!has(self.l) || (self.l.min() > 0 && self.l.max() < 9)", {"l": [1, 8]}, {"l": [0, 8]}),
        ("!has(self.t) || self.t.indexOf('b') == 1", {"t": "ab"}, {"t": "ba"}),
        (
            "!has(self.__namespace__) || self.__namespace__ != 'kube-system'",
            {"namespace": "a"},
            {"namespace": "kube-system"},
        ),
        ("!has(self.d__dash__x) || self.d__dash__x > 0", {"d-x": 1}, {"d-x": 0}),
        ("self.a > 0", {"a": 1}, {}),
    ],
)
def test_a_rule_holds_or_refuses(api: Api, text: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    properties = {
        "a": NUMBER,
        "b": NUMBER,
        "t": TEXT,
        "l": {"type": "array", "items": NUMBER},
        "namespace": TEXT,
        "d-x": NUMBER,
    }
    schema = fields(**properties)
    schema["properties"]["spec"] |= rule(text, "that is wrong")
    define(api, schema)
    assert api.post(TESTS, custom(**good)).code == 201
    [(field, message)] = causes(api.post(TESTS, custom("b", **bad)))
    assert field == "spec"
    assert "that is wrong" in message


def test_a_transition_rule_is_asked_on_updates_only(api: Api) -> None:
    define(api, fields(a=TEXT | rule("self == oldSelf", "may not change")))
    assert api.post(TESTS, custom(a="x")).code == 201
    answer = api.patch(f"{TESTS}/a", {"spec": {"a": "y"}})
    assert causes(answer) == [("spec.a", 'Invalid value: "string": may not change')]
    assert api.patch(f"{TESTS}/a", {"metadata": {"labels": {"a": "b"}}}).code == 200


def test_an_optional_old_value_is_asked_for_at_creation_too(api: Api) -> None:
    once = "!oldSelf.hasValue() || oldSelf.value() == self || oldSelf.orValue('') == 'open'"
    define(api, fields(a=TEXT | rule(f"self != 'bad' && ({once})", "once only", optionalOldSelf=True)))
    assert api.post(TESTS, custom("bad", a="bad")).code == 422
    assert api.post(TESTS, custom(a="open")).code == 201
    assert api.patch(f"{TESTS}/a", {"spec": {"a": "x"}}).code == 200
    assert api.patch(f"{TESTS}/a", {"spec": {"a": "y"}}).code == 422


def test_a_message_can_be_made_of_the_value_and_a_field_be_named(api: Api) -> None:
    schema = fields(a=NUMBER)
    schema["properties"]["spec"] |= rule(
        "self.a < 3", messageExpression="'got ' + string(self.a)", fieldPath=".a", reason="FieldValueForbidden"
    )
    define(api, schema)
    assert causes(api.post(TESTS, custom(a=5))) == [("spec.a", "Forbidden: got 5")]


def test_rules_are_not_asked_of_an_object_that_has_wrong_types(api: Api) -> None:
    schema = fields(a=NUMBER)
    schema["properties"]["spec"] |= rule("self.a < 3")
    define(api, schema)
    fields_named = [field for field, _ in causes(api.post(TESTS, custom(a="x")))]
    assert fields_named == ["spec.a", "<nil>"], "the second says that rules were not checked"
