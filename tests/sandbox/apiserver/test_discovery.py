# SPDX-License-Identifier: Apache-2.0
"""What the server says about itself, in the forms that kubectl and client-go ask for."""

from typing import Any

import pytest

from purelb.sandbox.apiserver.kinds import ALL_VERBS, BUILT_IN, served
from tests.sandbox.apiserver.driver import DEFINITIONS, Api, definition, definition_of, fields

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def aggregated(api: Api) -> dict[tuple[str, str], dict[str, Any]]:
    """(group, version) to its resources by plural, from both roots."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for root in ("/api", "/apis"):
        for group in api.ask("GET", root, accept=AGGREGATED).body["items"]:
            for version in group["versions"]:
                resources = {one["resource"]: one for one in version["resources"]}
                found[group["metadata"].get("name", ""), version["version"]] = resources
    return found


def test_the_version_is_what_was_asked_for() -> None:
    body = Api(version="1.25").get("/version").body
    assert (body["major"], body["minor"], body["gitVersion"]) == ("1", "25", "v1.25.0+purelb.sandbox")


def test_plain_and_aggregated_discovery_name_the_same_resources(api: Api) -> None:
    api.post(DEFINITIONS, definition(subresources={"status": {}}))
    for (group, version), resources in aggregated(api).items():
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        plain = {one["name"]: one for one in api.get(path).body["resources"]}
        assert {name for name in plain if "/" not in name} == set(resources)
        below = {
            f"{name}/{sub['subresource']}" for name, one in resources.items() for sub in one.get("subresources", ())
        }
        assert {name for name in plain if "/" in name} == below
        for name, one in resources.items():
            assert plain[name]["namespaced"] == (one["scope"] == "Namespaced")
            assert plain[name]["kind"] == one["responseKind"]["kind"]
            assert plain[name].get("shortNames") == one.get("shortNames")


def test_every_built_in_kind_is_listed_and_every_listed_one_answers(api: Api) -> None:
    found = aggregated(api)
    for kind in BUILT_IN:
        for group, version in served(kind):
            assert found[group, version][kind.plural]["verbs"] == list(ALL_VERBS)
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            assert api.get(f"{path}/{kind.plural}").body["kind"] == f"{kind.kind}List"


def test_groups_prefer_their_newest_stable_version(api: Api) -> None:
    names = ("v1alpha1", "v10", "v2", "v1beta2", "v1")
    schema = {"openAPIV3Schema": fields()}
    api.post(
        DEFINITIONS,
        definition_of(*({"name": name, "served": True, "storage": name == "v2", "schema": schema} for name in names)),
    )
    [group] = [one for one in api.get("/apis").body["groups"] if one["name"] == "example.com"]
    assert [one["version"] for one in group["versions"]] == ["v10", "v2", "v1", "v1beta2", "v1alpha1"]
    assert group["preferredVersion"] == group["versions"][0]
    assert api.get("/apis/example.com").body["kind"] == "APIGroup"


def test_a_version_that_is_not_served_is_not_discovered(api: Api) -> None:
    schema = {"openAPIV3Schema": fields()}
    old, new = (
        {"name": name, "served": name == "v2", "storage": name == "v2", "schema": schema} for name in ("v1", "v2")
    )
    api.post(DEFINITIONS, definition_of(old, new))
    assert (api.get("/apis/example.com/v1").code, api.get("/apis/example.com/v2").code) == (404, 200)
    assert api.get("/apis/example.com/v1/namespaces/default/tests").code == 404


def test_each_openapi_document_has_a_patch_with_field_validation_for_each_kind(api: Api) -> None:
    api.post(DEFINITIONS, definition(fields(mode={"type": "string", "description": "How it is done."})))
    index = api.get("/openapi/v3").body["paths"]
    for name, where in index.items():
        document = api.get(where["serverRelativeURL"].partition("?")[0]).body
        patches = {
            operations["patch"]["x-kubernetes-group-version-kind"]["kind"]: operations["patch"]
            for operations in document["paths"].values()
            if "patch" in operations
        }
        kinds = {
            schema["x-kubernetes-group-version-kind"][0]["kind"]
            for schema in document["components"]["schemas"].values()
            if "x-kubernetes-group-version-kind" in schema
        }
        assert kinds == set(patches), name
        assert all(
            "fieldValidation" in [one["name"] for one in operation["parameters"]] for operation in patches.values()
        )
    described = api.get("/openapi/v3/apis/example.com/v1").body["components"]["schemas"]["com.example.v1.Test"]
    assert described["properties"]["spec"]["properties"]["mode"]["description"] == "How it is done."


def test_an_openapi_address_changes_with_its_document(api: Api) -> None:
    def address() -> str:
        return str(api.get("/openapi/v3").body["paths"]["apis/example.com/v1"]["serverRelativeURL"])

    api.post(DEFINITIONS, definition(fields(a={"type": "string"})))
    before = address()
    assert address() == before
    current = api.get(f"{DEFINITIONS}/tests.example.com").body
    current["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = fields(b={"type": "string"})
    api.put(f"{DEFINITIONS}/tests.example.com", current)
    assert address() != before


def test_the_document_of_version_2_defines_nothing_in_either_form(api: Api) -> None:
    shown = api.get("/openapi/v2").body
    assert (shown["swagger"], shown["paths"], shown.get("definitions")) == ("2.0", {}, None)
    binary = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answered = api.ask("GET", "/openapi/v2", accept=binary)
    assert answered.headers["content-type"] == binary.replace("@", ".")
    assert answered.body == "\n\x032.0\x12\x16\n\x0ePureLB sandbox\x12\x041.34B\x00"


@pytest.mark.parametrize("path", ["/openapi/v1", "/openapi/v3/apis/none/v1", "/apis/none", "/metrics"])
def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    assert api.get(path).code == 404
