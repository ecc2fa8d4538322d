# SPDX-License-Identifier: Apache-2.0
"""Custom resources over time and from outside: versions and their defaults, the status subresource, printer columns."""

from typing import Any

from tests.sandbox.apiserver.driver import DEFINITIONS, TESTS, Api, custom, definition, definition_of, fields

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def define(api: Api, schema: dict[str, Any], **version: Any) -> None:
    made = api.post(DEFINITIONS, definition(schema, **version))
    assert made.code == 201, made.body


# --- versions --------------------------------------------------------------------------------------------------------


def versions(*, storage: str = "v2", **defaults: str) -> dict[str, Any]:
    """Two versions whose schemas differ in the default of `mode`."""
    return definition_of(
        *(
            {
                "name": name,
                "served": True,
                "storage": name == storage,
                "schema": {"openAPIV3Schema": fields(mode=TEXT | {"default": default})},
            }
            for name, default in defaults.items()
        )
    )


def test_an_object_keeps_the_defaults_of_the_version_it_was_written_in(api: Api) -> None:
    api.post(DEFINITIONS, versions(v1="Dummy", v2="Withhold"))
    first, second = (TESTS.replace("/v1/", f"/{version}/") for version in ("v1", "v2"))
    api.post(first, custom("old"))
    api.post(second, custom("new", version="v2"))
    seen = {name: api.get(f"{second}/{name}").body for name in ("old", "new")}
    assert {name: one["spec"]["mode"] for name, one in seen.items()} == {"old": "Dummy", "new": "Withhold"}
    assert {one["apiVersion"] for one in seen.values()} == {"example.com/v2"}
    assert [item["apiVersion"] for item in api.get(first).body["items"]] == ["example.com/v1"] * 2


def test_an_object_of_before_the_defaults_is_read_with_those_of_the_version_it_is_stored_in(api: Api) -> None:
    api.post(DEFINITIONS, definition(fields(mode=TEXT)))
    api.post(TESTS, custom())
    before = api.get(f"{TESTS}/a").rv
    written = versions(v1="Dummy", v2="Withhold")
    current = api.get(f"{DEFINITIONS}/tests.example.com").body
    assert api.put(f"{DEFINITIONS}/tests.example.com", current | {"spec": written["spec"]}).code == 200
    second = TESTS.replace("/v1/", "/v2/")
    seen = api.get(f"{second}/a").body
    assert (seen["spec"], seen["apiVersion"], seen["metadata"]["resourceVersion"]) == (
        {"mode": "Dummy"},
        "example.com/v2",
        before,
    )
    assert api.get(second).body["items"][0]["spec"] == {"mode": "Dummy"}
    touched = api.patch(f"{second}/a", {"metadata": {"labels": {"a": "b"}}}).body
    assert touched["spec"] == {"mode": "Dummy"}, "and keeps it once it is written again"


# --- subresources ----------------------------------------------------------------------------------------------------

WITH_STATUS = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"a": NUMBER}},
        "status": {"type": "object", "properties": {"n": NUMBER}},
    },
}


def test_a_status_write_takes_the_status_only_and_a_main_write_everything_else(api: Api) -> None:
    define(api, WITH_STATUS, subresources={"status": {}})
    assert "status" not in api.post(TESTS, custom(a=1) | {"status": {"n": 1}}).body
    body = {"metadata": {"labels": {"a": "b"}}, "spec": {"a": 2}, "status": {"n": 2}}
    status = api.patch(f"{TESTS}/a/status", body).body
    assert (status["spec"], status["status"], "labels" in status["metadata"]) == ({"a": 1}, {"n": 2}, False)
    main = api.patch(f"{TESTS}/a", {"spec": {"a": 3}, "status": {"n": 3}}).body
    assert (main["spec"], main["status"]) == ({"a": 3}, {"n": 2})
    assert (status["metadata"]["generation"], main["metadata"]["generation"]) == (1, 2)


def test_without_the_subresource_a_status_is_a_field_like_any_other(api: Api) -> None:
    define(api, WITH_STATUS)
    assert api.post(TESTS, custom() | {"status": {"n": 1}}).body["status"] == {"n": 1}
    assert api.patch(f"{TESTS}/a/status", {"status": {"n": 2}}).code == 404


def test_an_object_that_broke_a_later_rule_can_still_get_a_status(api: Api) -> None:
    define(api, WITH_STATUS, subresources={"status": {}})
    api.post(TESTS, custom(a=1))
    current = api.get(f"{DEFINITIONS}/tests.example.com").body
    current["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["a"]["minimum"] = 5
    assert api.put(f"{DEFINITIONS}/tests.example.com", current).code == 200
    assert api.patch(f"{TESTS}/a/status", {"status": {"n": 1}}).code == 200
    assert api.patch(f"{TESTS}/a", {"spec": {"a": 2}}).code == 422


def test_printer_columns_follow_their_paths(api: Api) -> None:
    columns = [
        {"name": "A", "type": "integer", "jsonPath": ".spec.a"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "All", "type": "string", "jsonPath": ".status.conditions[*].type", "priority": 1},
    ]
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    define(api, free, additionalPrinterColumns=columns)
    conditions = [{"type": "Old", "status": "False"}, {"type": "Ready", "status": "True"}]
    api.post(TESTS, custom(a=4) | {"status": {"conditions": conditions}})
    api.post(TESTS, custom("b"))
    shown = api.ask("GET", TESTS, accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "A", "Ready", "All"]
    assert [row["cells"] for row in shown["rows"]] == [["a", 4, "True", "Old Ready"], ["b", None, None, None]]
