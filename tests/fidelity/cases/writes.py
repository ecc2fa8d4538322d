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
    labelled,
    lease,
    named,
    pod,
    service,
)
from tests.fidelity.steps import (
    JSON_PATCH,
    STRATEGIC,
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


def patched(
    what: str, body: object, *, before: Object | None = None, media: str = "", path: str = ONE, query: str = ""
) -> Case:
    more = {"media": media} if media else {}
    return case(
        f"a patch of {what}",
        post(
            CONFIG_MAPS,
            before or config_map("one", data={"a": "1", "b": "2"}, metadata={"labels": {"x": "y"}}),
            keep="one",
        ),
        patch(path + query, body, **more),
    )


def json_patch(what: str, *operations: Object, before: Object | None = None) -> Case:
    return patched(f"{what} (JSON)", list(operations), media=JSON_PATCH, before=before)


MERGES = (
    patched("one key", {"data": {"a": "3"}}),
    patched("a null", {"data": {"a": None}, "metadata": {"labels": None}}),
    patched("a null of what is not there", {"data": {"z": None}, "immutable": None}),
    patched("nothing", {}),
    patched("the revision", {"metadata": {"resourceVersion": "<one.rv>"}, "data": {"a": "3"}}),
    patched("an old revision", {"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}}),
    patched("an old revision and no change", {"metadata": {"resourceVersion": "1"}}),
    patched("an old revision, strategically", {"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}}, media=STRATEGIC),
    patched("an old revision that is no number", {"metadata": {"resourceVersion": "x"}, "data": {"a": "3"}}),
    patched("another uid", {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}),
    patched("another name", {"metadata": {"name": "two"}}),
    patched("another namespace", {"metadata": {"namespace": "default"}}),
    patched("another kind", {"kind": "Secret"}),
    patched("a wrong type", {"data": ["a"]}),
    patched("a number for a word", {"data": {"a": 1}}),
    patched("an unknown field", {"dat": {"a": "1"}}),
    patched("an unknown field, strictly", {"dat": {"a": "1"}}, query="?fieldValidation=Strict"),
    patched("an unknown field, warning", {"dat": {"a": "1"}}, query="?fieldValidation=Warn"),
    patched("a list", []),
    patched("a word", "hello"),
    patched("null itself", None),
    patched("a dry run", {"data": {"a": "3"}}, query="?dryRun=All"),
    patched("a bad label", {"metadata": {"labels": {"a b": "c"}}}),
    patched("what is not there", {"data": {}}, path=f"{CONFIG_MAPS}/none"),
    patched("JSON that is none", "x", media="application/json"),
    patched("a media type nobody has", {}, media="text/plain"),
    case("a patch of no JSON", post(CONFIG_MAPS, config_map("one")), Request(method="PATCH", path=ONE, raw=b"{", media="application/merge-patch+json")),
    case("server-side apply", patch(f"{ONE}?fieldManager=purelb", config_map("one", data={"a": "1"}), media="application/apply-patch+yaml"),
         patch(ONE, config_map("one"), media="application/apply-patch+yaml")),
    case("a patch of a collection", patch(CONFIG_MAPS, {})),
    json_patch("one key", {"op": "replace", "path": "/data/a", "value": "3"}),
    json_patch("a new key", {"op": "add", "path": "/data/c", "value": "3"}),
    json_patch("a label with a slash", {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}),
    json_patch("a removal", {"op": "remove", "path": "/data/a"}),
    json_patch("a removal of what is not there", {"op": "remove", "path": "/data/z"}),
    json_patch("a replacement of what is not there", {"op": "replace", "path": "/data/z", "value": "1"}),
    json_patch("an addition below what is not there", {"op": "add", "path": "/binaryData/z", "value": "dg=="}),
    json_patch("a test that holds", {"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"}),
    json_patch("a test that fails", {"op": "test", "path": "/data/a", "value": "2"}, {"op": "replace", "path": "/data/a", "value": "2"}),
    json_patch("a test of what is not there", {"op": "test", "path": "/data/z", "value": "2"}),
    json_patch("a move", {"op": "move", "from": "/data/a", "path": "/data/c"}),
    json_patch("a copy", {"op": "copy", "from": "/data/a", "path": "/data/c"}),
    json_patch("an old revision, replaced", {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}),
    json_patch("an old revision, tested", {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}),
    json_patch("an operation nobody knows", {"op": "shout", "path": "/data/a"}),
    json_patch("an operation without a path", {"op": "remove"}),
    json_patch("a path without a slash", {"op": "remove", "path": "data"}),
    json_patch("finalizers at an index", {"op": "add", "path": "/metadata/finalizers/0", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    json_patch("finalizers at the end", {"op": "add", "path": "/metadata/finalizers/-", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    json_patch("an index beyond the end", {"op": "add", "path": "/metadata/finalizers/7", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    patched("an object as a JSON patch", {"op": "remove", "path": "/data/a"}, media=JSON_PATCH),
    patched("no operations", [], media=JSON_PATCH),
)  # fmt: skip


def strategic(what: str, body: Object, **spec: Any) -> Case:
    """A strategic patch of a Service with two ports."""
    before = service(
        "web", type="ClusterIP", **({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]} | spec)
    )
    return case(
        f"a strategic patch of {what}",
        post(SERVICES, before),
        patch(f"{SERVICES}/web", body, media=STRATEGIC, only=("spec", "metadata", "message", "reason")),
    )


STRATEGICS = (
    strategic("a port by its number", {"spec": {"ports": [{"port": 81, "targetPort": 8081}]}}),
    strategic("a new port", {"spec": {"ports": [{"port": 82, "name": "c"}]}}),
    strategic("a port that goes", {"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}),
    strategic("all ports", {"spec": {"ports": [{"port": 90, "name": "z"}, {"$patch": "replace"}]}}),
    strategic("the order of ports", {"spec": {"ports": [{"port": 82, "name": "c"}], "$setElementOrder/ports": [{"port": 82}, {"port": 81}, {"port": 80}]}}),
    strategic("a port without its number", {"spec": {"ports": [{"name": "a"}]}}),
    strategic("labels that are replaced", {"metadata": {"labels": {"$patch": "replace", "n": "1"}}}),
    strategic("a selector's key", {"spec": {"selector": {"app": None, "tier": "x"}}}, selector={"app": "nobody", "more": "nobody"}),
    strategic("a selector that is replaced", {"spec": {"selector": {"tier": "x", "$patch": "replace"}}}, selector={"app": "nobody", "more": "nobody"}),
    strategic("finalizers", {"metadata": {"finalizers": ["purelb.io/a"]}}),
    strategic("an unknown directive", {"metadata": {"labels": {"$patch": "explode"}}}),
    strategic("kept keys", {"spec": {"$retainKeys": ["ports", "type"], "type": "ClusterIP"}}),
    case(
        "a strategic patch of finalizers, a set",
        post(CONFIG_MAPS, config_map("one", metadata={"finalizers": ["purelb.io/a", "purelb.io/b"]})),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/c", "purelb.io/a"]}}, media=STRATEGIC),
        patch(ONE, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["purelb.io/a"]}}, media=STRATEGIC),
        patch(ONE, {"metadata": {"finalizers": None}}, media=STRATEGIC),
    ),
    case(
        "a strategic patch of a Pod's containers",
        post(PODS, pod("one"), only=("kind",)),
        patch(f"{PODS}/one", {"spec": {"containers": [{"name": "main", "image": "other"}]}}, media=STRATEGIC, leave_out=("spec", "status")),
        patch(f"{PODS}/one/status", {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}}, media=STRATEGIC, only=("status.conditions",)),
        patch(f"{PODS}/one/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}}, media=STRATEGIC, only=("status.conditions",)),
    ),
)  # fmt: skip

DELETES = (
    case("a DELETE", post(CONFIG_MAPS, config_map("one")), delete(ONE), get(ONE), delete(ONE)),
    case("a DELETE in a dry run", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?dryRun=All"), get(ONE)),
    case("a DELETE with its dry run in the body", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"dryRun": ["All"]}), get(ONE)),
    case("a DELETE of the right uid", post(CONFIG_MAPS, config_map("one"), keep="one"), delete(ONE, {"preconditions": {"uid": "<one.uid>"}})),
    case("a DELETE of another uid", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})),
    case("a DELETE of the right revision", post(CONFIG_MAPS, config_map("one"), keep="one"), delete(ONE, {"preconditions": {"resourceVersion": "<one.rv>"}})),
    case("a DELETE of another revision", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": {"resourceVersion": "1"}})),
    case("a DELETE with a body that says what it is", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})),
    case("a DELETE in the background", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Background")),
    case("a DELETE that orphans", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Orphan"), get(ONE)),
    case("a DELETE in the foreground", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Foreground")),
    case("a DELETE in a way nobody knows", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?propagationPolicy=Sideways")),
    case("a DELETE with a body that is none", post(CONFIG_MAPS, config_map("one")), delete(ONE, {"preconditions": 7})),
    case("a DELETE with a grace period", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?gracePeriodSeconds=5"), get(ONE)),
    case("a DELETE with a negative grace period", post(CONFIG_MAPS, config_map("one")), delete(f"{ONE}?gracePeriodSeconds=-5")),
    case(
        "a DELETE of what a finalizer holds",
        post(CONFIG_MAPS, config_map("one", metadata={"finalizers": ["purelb.io/hold", "purelb.io/more"]})),
        delete(ONE),
        delete(ONE),
        get(ONE),
        patch(ONE, {"data": {"still": "here"}}),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/hold", "purelb.io/new"]}}),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/hold"]}}),
        patch(ONE, {"metadata": {"finalizers": []}}),
        get(ONE),
    ),
    case(
        "a DELETE of a Service that a finalizer holds",
        post(SERVICES, service(metadata={"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}), only=("kind",)),
        delete(f"{SERVICES}/web", leave_out=("spec",)),
        patch(f"{SERVICES}/web/status", {"metadata": {"finalizers": []}}, leave_out=("spec",)),
        get(f"{SERVICES}/web"),
    ),
    case("a DELETE of a Service", post(SERVICES, service(), only=("kind",)), delete(f"{SERVICES}/web")),
    case(
        "a DELETE of a Pod",
        post(PODS, pod("one", nodeName="fidelity-node"), only=("kind",)),
        delete(f"{PODS}/one", leave_out=("spec", "status")),
        get(f"{PODS}/one", only=("metadata.deletionGracePeriodSeconds",)),
        delete(f"{PODS}/one?gracePeriodSeconds=0", leave_out=("spec", "status")),
        get(f"{PODS}/one"),
    ),
    case("a DELETE of a Pod without a node", post(PODS, pod("one"), only=("kind",)), delete(f"{PODS}/one", leave_out=("spec", "status")), get(f"{PODS}/one")),
    case(
        "a DELETE of a selection",
        *[post(LEASES, labelled(name, app=app)) for name, app in (("a", "x"), ("b", "y"), ("c", "x"))],
        delete(f"{LEASES}?labelSelector=app=x&dryRun=All"),
        delete(f"{LEASES}?labelSelector=app=x"),
        get(LEASES),
        delete(f"{LEASES}?fieldSelector=metadata.name=none"),
        delete(LEASES),
        get(LEASES),
    ),
    case("a DELETE of a selection that is none", delete(f"{LEASES}?labelSelector=a%20in%20(")),
    case("a DELETE in all namespaces", delete("/apis/coordination.k8s.io/v1/leases?labelSelector=nobody=has-this")),
    case("a DELETE of a collection of Services", post(SERVICES, service()), delete(SERVICES), get(SERVICES)),
    case("a DELETE of a status", post(SERVICES, service()), delete(f"{SERVICES}/web/status")),
)  # fmt: skip

CASES: tuple[Case, ...] = (*CREATES, *UPDATES, *MERGES, *STRATEGICS, *DELETES)
