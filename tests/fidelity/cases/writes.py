# SPDX-License-Identifier: Apache-2.0
"""POST, PUT, PATCH and DELETE, whatever the kind: names, metadata, revisions, bodies, dry runs, finalizers."""

from __future__ import annotations

from typing import Any

from tests.fidelity.cases.objects import (
    CONFIG_MAPS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    config_map,
    event,
    lease,
    named,
    service,
)
from tests.fidelity.steps import (
    Case,
    From,
    Object,
    Request,
    Room,
    case,
    delete,
    get,
    patch,
    post,
    put,
)

DRY = "?dryRun=All"
BAD = Room(name="bodies that are refused")
DONE = Room(name="a config map", prepare=(post(CONFIG_MAPS, config_map("there", data={"a": "1"})),))
ONE = f"{CONFIG_MAPS}/one"


def raw(method: str, path: str, body: bytes, **more: Any) -> Request:
    return Request(method=method, path=path, raw=body, **more)


def refused(what: str, body: object, query: str = "") -> Case:
    return case(f"a POST of {what}", post(f"{CONFIG_MAPS}{query or DRY}", body), room=BAD)


def sent(what: str, body: bytes, **more: Any) -> Case:
    return case(f"a POST of {what}", raw("POST", CONFIG_MAPS + DRY, body, **more), room=BAD)


UNKNOWN = config_map("one", data={"a": "1"}, dat={"b": "2"}, metadata={"label": {"x": "y"}})
UNKNOWN_DEEP = service("one", ports=[{"port": 80, "prot": "TCP"}], typ="x")
TWICE = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"a":"1","a":"2"},"data":{"b":"1"}}'

CREATES = (
    case("a POST of what is there", post(CONFIG_MAPS, config_map("there")), room=DONE),
    case("a POST into another namespace", post(CONFIG_MAPS, config_map("one", metadata={"namespace": "default"})), room=BAD),
    case("a POST into a namespace that does not exist", post("/api/v1/namespaces/no-such-namespace/configmaps", config_map("one"))),
    case("a POST to all namespaces", post("/api/v1/configmaps", config_map("one", metadata={"namespace": "<ns>"})), room=BAD),
    case("a POST to a name", post(f"{CONFIG_MAPS}/there", config_map("there")), room=DONE),
    case(
        "generateName",
        post(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}),
        post(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m" * 70}}),
        post(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "NotGood-"}}),
        post(f"{CONFIG_MAPS}?dryRun=All", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "dry-"}}),
    ),
    case("a POST without a type", post(CONFIG_MAPS, {"metadata": {"name": "bare"}, "data": {"a": "1"}}), room=BAD),
    case("a POST with the server's fields", post(CONFIG_MAPS, config_map("one", metadata={
        "uid": "00000000-0000-0000-0000-000000000000", "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7, "selfLink": "/x"}))),
    case("a POST with a revision", post(CONFIG_MAPS, config_map("revision", metadata={"resourceVersion": "5"})), room=BAD),
    case("a POST with a deletion", post(CONFIG_MAPS, config_map("deletion", metadata={"deletionTimestamp": "2020-01-01T00:00:00Z"})), room=BAD),
    case("a POST with empty metadata", post(CONFIG_MAPS, config_map("empty", metadata={"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []}))),
    case("a POST with null metadata", post(CONFIG_MAPS, config_map("empty", metadata={"labels": None, "annotations": None, "finalizers": None}))),
    refused("no name", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
    refused("no metadata", {"apiVersion": "v1", "kind": "ConfigMap"}),
    refused("another kind", named("v1", "Secret", "one")),
    refused("another version", named("v2", "ConfigMap", "one")),
    refused("another group", named("apps/v1", "ConfigMap", "one")),
    refused("a list", []),
    refused("a number", 7),
    refused("an upper-case name", config_map("One")),
    refused("a name with a slash", config_map("a/b")),
    refused("the name ..", config_map("..")),
    refused("a name of 254 letters", config_map("a" * 254)),
    refused("a bad label key", config_map("one", metadata={"labels": {"a b": "c"}})),
    refused("a bad label value", config_map("one", metadata={"labels": {"a": "b c"}})),
    refused("a label value of 64 letters", config_map("one", metadata={"labels": {"a": "b" * 64}})),
    refused("a label key with two slashes", config_map("one", metadata={"labels": {"a/b/c": "d"}})),
    refused("a label key without a prefix before its slash", config_map("one", metadata={"labels": {"/c": "d"}})),
    refused("a label key with a bad prefix", config_map("one", metadata={"labels": {"A_b/c": "d"}})),
    refused("a label that is a number", config_map("one", metadata={"labels": {"a": 1}})),
    refused("labels that are a list", config_map("one", metadata={"labels": ["a"]})),
    refused("a bad annotation key", config_map("one", metadata={"annotations": {"a b": "c"}})),
    refused("annotations of more than 256 KiB", config_map("one", metadata={"annotations": {"a": "x" * (256 * 1024)}})),
    refused("a bad finalizer", config_map("one", metadata={"finalizers": ["not good"]})),
    refused("an unqualified finalizer", config_map("one", metadata={"finalizers": ["hold"]})),
    refused("an owner without a uid", config_map("one", metadata={"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]})),
    refused("two controllers", config_map("one", metadata={"ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True} for name in "ab"]})),
    refused("unknown fields, strictly", UNKNOWN, "?fieldValidation=Strict"),
    refused("unknown fields, warning", UNKNOWN, "?fieldValidation=Warn&dryRun=All"),
    refused("unknown fields, ignoring", UNKNOWN, "?fieldValidation=Ignore&dryRun=All"),
    refused("unknown fields, saying nothing", UNKNOWN, "?dryRun=All"),
    refused("unknown fields, validated by a word nobody knows", UNKNOWN, "?fieldValidation=Perhaps"),
    case("a POST of unknown fields in a list, strictly", post(f"{SERVICES}?fieldValidation=Strict", UNKNOWN_DEEP), room=BAD),
    case("a POST of unknown fields in a list, warning", post(f"{SERVICES}?fieldValidation=Warn&dryRun=All", UNKNOWN_DEEP, only=("kind",)), room=BAD),
    case("a POST of fields that stand twice, strictly", raw("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", TWICE), room=BAD),
    case("a POST of fields that stand twice, warning", raw("POST", f"{CONFIG_MAPS}?fieldValidation=Warn&dryRun=All", TWICE), room=BAD),
    refused("a word that dryRun does not know", config_map("one"), "?dryRun=Some"),
    refused("an empty dryRun", config_map("one"), "?dryRun="),
    sent("no body", b""),
    sent("no JSON", b"{"),
    sent("text", b"hello"),
    sent("an empty object", b"{}"),
    sent("null", b"null"),
    sent("NaN", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":NaN}}'),
    sent("bytes that are no text", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\xff"}}'),
    sent("a media type nobody has", b"{}", media="application/x-nothing"),
    case("a POST of more than three MiB", raw("POST", CONFIG_MAPS + DRY, b'{"a":"' + b"x" * (3 * 1024 * 1024) + b'"}'), room=BAD),
    sent("depth 20000", b"[" * 20000),
    sent("depth in an object", b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":' + b'{"a":' * 12000 + b"1" + b"}" * 12001),
    sent("YAML", b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\n", media="application/yaml"),
    sent("form data", b"a=b", media="application/x-www-form-urlencoded"),
    case("a dry run of a create", post(f"{CONFIG_MAPS}?dryRun=All", config_map("dry")), get(f"{CONFIG_MAPS}/dry"), room=BAD),
    case("a namespace is made and deleted", post(NAMESPACES, named("v1", "Namespace", "<ns>-more")), get(f"{NAMESPACES}/<ns>-more"),
         post("/api/v1/namespaces/<ns>-more/configmaps", config_map("one"), only=("kind",)),
         delete(f"{NAMESPACES}/<ns>-more", leave_out=("metadata.deletionTimestamp",)),
         get(f"{NAMESPACES}/<ns>-more", until={"status": 404})),
    case("a namespace with a bad name", post(NAMESPACES, named("v1", "Namespace", "a.b"))),
    case("a namespace that is held by what is in it",
         post(NAMESPACES, named("v1", "Namespace", "<ns>-held"), only=("kind",)),
         post("/api/v1/namespaces/<ns>-held/configmaps", config_map("one", metadata={"finalizers": ["purelb.io/hold"]}), only=("kind",)),
         delete(f"{NAMESPACES}/<ns>-held", only=("status.phase",)),
         get("/api/v1/namespaces/<ns>-held/configmaps/one", until={"body.metadata.deletionGracePeriodSeconds": 0}),
         post("/api/v1/namespaces/<ns>-held/configmaps", config_map("two")),
         get(f"{NAMESPACES}/<ns>-held", only=("status.phase", "spec")),
         patch("/api/v1/namespaces/<ns>-held/configmaps/one", {"metadata": {"finalizers": None}}, only=("kind",)),
         get(f"{NAMESPACES}/<ns>-held", until={"status": 404})),
    case("the namespaces that stay", delete(f"{NAMESPACES}/default?dryRun=All"), delete(f"{NAMESPACES}/kube-system?dryRun=All")),
)  # fmt: skip


def updated(what: str, change: Object, *, before: Object | None = None) -> Case:
    """A PUT of a ConfigMap: the stored one with a change."""
    return case(
        f"a PUT with {what}",
        post(CONFIG_MAPS, before or config_map("one", data={"a": "1"}), keep="one"),
        put(ONE, From("one", change)),
        get(ONE),
    )


UPDATES = (
    updated("other data", {"data": {"b": "2"}}),
    updated("what is stored already", {}),
    updated("no revision", {"metadata": {"resourceVersion": None}, "data": {"b": "2"}}),
    updated("revision 0", {"metadata": {"resourceVersion": "0"}, "data": {"b": "2"}}),
    updated("a revision that is no number", {"metadata": {"resourceVersion": "x"}, "data": {"b": "2"}}),
    updated("another name", {"metadata": {"name": "two"}}),
    updated("no name", {"metadata": {"name": None}}),
    updated("another namespace", {"metadata": {"namespace": "default"}}),
    updated("no namespace", {"metadata": {"namespace": None}}),
    updated("another uid", {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}),
    updated("no uid", {"metadata": {"uid": None}}),
    updated("another creation time", {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
    updated("a deletion time", {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}),
    updated("a generation", {"metadata": {"generation": 9}}),
    updated("another kind", {"kind": "Secret"}),
    updated("no type", {"kind": None, "apiVersion": None}),
    updated("a bad label", {"metadata": {"labels": {"a b": "c"}}}),
    updated("other data although it is immutable", {"data": {"a": "2"}}, before=config_map("one", data={"a": "1"}, immutable=True)),
    updated("an end of its being immutable", {"immutable": None}, before=config_map("one", immutable=True)),
    case(
        "a PUT of an old revision",
        post(CONFIG_MAPS, config_map("one"), keep="one"),
        patch(ONE, {"data": {"a": "1"}}),
        put(ONE, From("one", {"data": {"b": "2"}})),
        get(ONE),
    ),
    case("a PUT of what is not there", put(ONE, config_map("one"))),
    case("a PUT of a lease that is not there", put(f"{LEASES}/new", lease("new", holderIdentity="me"))),
    case("a PUT of a lease that is not there, with a revision", put(f"{LEASES}/new", lease("new", metadata={"resourceVersion": "5"}))),
    case("a PUT of an Event that is not there", put("/api/v1/namespaces/<ns>/events/new", event("new"))),
    case("a PUT of a Service that is not there", put(f"{SERVICES}/web", service())),
    case("a PUT of a Service without a revision", post(SERVICES, service(), keep="web"), put(f"{SERVICES}/web", From("web", {"metadata": {"resourceVersion": None}, "spec": {"externalTrafficPolicy": "Local"}}))),
    case("a PUT of a Service without what the server chose", post(SERVICES, service(), keep="web"), put(f"{SERVICES}/web", From("web", {"spec": {"clusterIP": None, "clusterIPs": None, "ipFamilies": None, "ipFamilyPolicy": None}}))),
    case("a PUT to a collection", put(CONFIG_MAPS, config_map("one"))),
    case(
        "a PUT in a dry run",
        post(CONFIG_MAPS, config_map("one"), keep="one"),
        put(f"{ONE}?dryRun=All", From("one", {"data": {"b": "2"}})),
        get(ONE),
    ),
    case(
        "generations",
        post(PODS.replace("pods", "services"), service("gen", type="ClusterIP"), only=("metadata.generation",)),
        post(NODES + "?dryRun=All", named("v1", "Node", "<ns>"), only=("metadata.generation",)),
        post("/apis/discovery.k8s.io/v1/namespaces/<ns>/endpointslices", named("discovery.k8s.io/v1", "EndpointSlice", "s", addressType="IPv4", endpoints=[], ports=[]), keep="s"),
        patch("/apis/discovery.k8s.io/v1/namespaces/<ns>/endpointslices/s", {"metadata": {"labels": {"a": "b"}}}, only=("metadata.generation",)),
        patch("/apis/discovery.k8s.io/v1/namespaces/<ns>/endpointslices/s", {"endpoints": [{"addresses": ["192.0.2.1"]}]}, only=("metadata.generation",)),
    ),
)  # fmt: skip


CASES: tuple[Case, ...] = (*CREATES, *UPDATES)
