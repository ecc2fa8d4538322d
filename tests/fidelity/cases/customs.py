# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinitions and what they define: schemas, pruning, defaults per version, CEL, status, deletion."""

from __future__ import annotations

from typing import Any

from tests.fidelity.cases.objects import CRDS, FREE, crd, named, version
from tests.fidelity.steps import STRATEGIC, Case, From, Object, Room, case, delete, get, patch, post, put

THINGS = "/apis/<group>/v1/namespaces/<ns>/things"
THINGS_2 = "/apis/<group>/v2/namespaces/<ns>/things"
S: Object = {"type": "string"}
I: Object = {"type": "integer"}  # noqa: E741 - as in the embedded server's own notation


def o(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


def a(items: Object, **more: Any) -> Object:
    return {"type": "array", "items": items, **more}


def rule(text: str, **more: Any) -> list[Object]:
    return [{"rule": text, **more}]


SPEC = o(
    size={**I, "minimum": 1, "maximum": 10, "default": 3},
    mode={**S, "enum": ["Fast", "Safe"], "default": "Safe"},
    word={**S, "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
    ratio={"type": "number", "multipleOf": 0.5},
    on={"type": "boolean"},
    port={"x-kubernetes-int-or-string": True},
    note={**S, "nullable": True, "default": "none"},
    plain={**S, "nullable": True},
    list=a(S, maxItems=3, minItems=1),
    unique=a(S, **{"x-kubernetes-list-type": "set"}),
    rows={
        **a(o(key=S, value={**I, "default": 1})),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["key"],
    },
    labels={"type": "object", "additionalProperties": {**S, "maxLength": 3}, "maxProperties": 2},
    free=FREE,
    inner=o(deep={**S, "default": "yes"}),
    filled={**o(deep={**S, "default": "yes"}), "default": {}},
    date={**S, "format": "date-time"},
    ip={**S, "format": "ipv4"},
    either=o(a=S, b=S) | {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    never=o(a=S, b=S) | {"not": {"required": ["a", "b"]}},
    needed=o(must=S) | {"required": ["must"]},
    low=I,
    high=I,
    fixed={**S, "x-kubernetes-validations": rule("self == oldSelf", message="fixed is immutable")},
) | {
    "x-kubernetes-validations": [
        {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low is at most high"},
        {
            "rule": "!has(self.low) || self.low < 100",
            "messageExpression": "'low is too high ' + (has(self.high) ? 'for high' : 'by itself')",
            "fieldPath": ".low",
            "reason": "FieldValueForbidden",
        },
        {"rule": "!has(self.list) || self.list.all(x, x.size() < 6)", "message": "words are short"},
    ]
}
SPEC["properties"]["rows"]["items"]["required"] = ["key"]

THING = Room(
    name="a custom resource",
    prepare=(
        post(CRDS, crd("things", [version(spec=SPEC)], kind="Thing")),
        get(THINGS, until={"status": 200}),
    ),
)


def thing(name: str = "one", **spec: Any) -> Object:
    return named("<group>/v1", "Thing", name, spec=spec)


def judged(what: str, **spec: Any) -> Case:
    """What admission makes of a spec; nothing is stored."""
    return case(f"a custom resource with {what}", post(f"{THINGS}?dryRun=All", thing(**spec)), room=THING)


ADMITTED = (
    judged("nothing but defaults"),
    judged("a number too small", size=0),
    judged("a number too large", size=11),
    judged("a number with a fraction where none may be", size=1.5),
    judged("a number that is a word", size="3"),
    judged("a whole number written with a point", size=3.0),
    judged("a null where a default is", size=None),
    judged("a null where null may be, and a default is", note=None),
    judged("a null where null may be", plain=None),
    judged("a null where neither null may be nor a default is", word=None),
    judged("a null for an object", inner=None),
    judged("a null for an object with a default", filled=None),
    judged("a null for a list", list=None),
    judged("a null in a list", list=[None]),
    judged("a null for a map's value", labels={"a": None}),
    judged("a null in what is free", free={"a": None, "b": [None]}),
    judged("a word that is not in the list", mode="Slow"),
    judged("an empty word that is not in the list", mode=""),
    judged("a word against its pattern", word="ABC"),
    judged("a word too short", word="a"),
    judged("a word too long", word="abcdef"),
    judged("a number that is no multiple", ratio=0.3),
    judged("a whole number for a number", ratio=2),
    judged("a word for a boolean", on="true"),
    judged("int-or-string: a number", port=80),
    judged("int-or-string: a word", port="http"),
    judged("int-or-string: a boolean", port=True),
    judged("an empty list", list=[]),
    judged("too many items", list=["a", "b", "c", "d"]),
    judged("an item of another type", list=["a", 1]),
    judged("an object for a list", list={"a": "b"}),
    judged("a set with a double", unique=["a", "b", "a"]),
    judged("a map list with a double", rows=[{"key": "a"}, {"key": "a", "value": 2}]),
    judged("a map list without its key", rows=[{"value": 2}]),
    judged("a map list and defaults", rows=[{"key": "a"}, {"key": "b", "value": 2}]),
    judged("too many properties", labels={"a": "1", "b": "2", "c": "3"}),
    judged("a property too long", labels={"a": "1234"}),
    judged("unknown fields", strange=1, inner={"other": 2}, rows=[{"key": "a", "more": 1}], free={"kept": {"as": "is"}}),
    judged("an inner default", inner={}),
    judged("a date that is none", date="yesterday"),
    judged("a date", date="2020-01-02T03:04:05Z"),
    judged("an address that is none", ip="192.0.2.999"),
    judged("neither of two", either={}),
    judged("both of two", either={"a": "1", "b": "2"}),
    judged("one of two", either={"a": "1"}),
    judged("what must not be", never={"a": "1", "b": "2"}),
    judged("a missing field", needed={}),
    judged("a broken rule", low=5, high=1),
    judged("a broken rule with its own path and reason", low=100),
    judged("two broken rules", low=200, high=1),
    judged("a rule over a list", list=["abcdefg"]),
    judged("a transition rule at creation", fixed="a"),
    judged("many mistakes", size=0, mode="x", word="ABC", list=["a", 1]),
    case("a custom resource with unknown fields, strictly", post(f"{THINGS}?fieldValidation=Strict", thing(what=1, inner={"other": 2})), room=THING),
    case("a custom resource with unknown fields, warning", post(f"{THINGS}?fieldValidation=Warn&dryRun=All", thing(what=1, inner={"other": 2})), room=THING),
    case("a custom resource with unknown fields, ignoring", post(f"{THINGS}?fieldValidation=Ignore&dryRun=All", thing(what=1)), room=THING),
    case("a custom resource with unknown root fields", post(f"{THINGS}?dryRun=All", thing() | {"extra": 1}), room=THING),
    case("a custom resource with unknown metadata", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one", metadata={"label": {"a": "b"}})), room=THING),
    case("a custom resource with bad metadata", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one", metadata={"labels": {"a": 1}})), room=THING),
    case("a custom resource with a bad label", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one", metadata={"labels": {"a b": "c"}})), room=THING),
    case("a custom resource with a bad name", post(f"{THINGS}?dryRun=All", thing("Not_Good")), room=THING),
    case("a custom resource without a spec", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one")), room=THING),
    case("a custom resource whose spec is a word", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one", spec="x")), room=THING),
    case("a custom resource without a kind", post(f"{THINGS}?dryRun=All", {"metadata": {"name": "one"}}), room=THING),
    case("a custom resource of another kind", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Other", "one")), room=THING),
    case("a custom resource of another version", post(f"{THINGS}?dryRun=All", named("<group>/v2", "Thing", "one")), room=THING),
    case("a custom resource with an unqualified finalizer", post(f"{THINGS}?dryRun=All", named("<group>/v1", "Thing", "one", metadata={"finalizers": ["hold"]})), room=THING),
)  # fmt: skip

LIFE = Room(name="the life of custom resources", prepare=THING.prepare)


def lived(what: str, *steps: Any, name: str, **spec: Any) -> Case:
    return case(f"a custom resource and {what}", post(THINGS, thing(name, **spec), keep="t"), *steps, room=LIFE)


def at(name: str) -> str:
    return f"{THINGS}/{name}"


LIVED = (
    lived("a PUT", put(at("a"), From("t", {"spec": {"size": 4}})), put(at("a"), From("t", {"spec": {"size": 5}})), get(at("a")), name="a"),
    lived("a PUT without a revision", put(at("b"), thing("b", size=4)), name="b"),
    lived("a PUT of nothing new", put(at("c"), From("t")), name="c"),
    lived("a PUT with a status", put(at("d"), From("t", {"status": {"a": 1}})), name="d"),
    lived("a PUT of what is not there", put(at("none"), thing("none")), name="e"),
    lived("a merge patch", patch(at("f"), {"spec": {"size": 4, "mode": None}}), patch(at("f"), {"metadata": {"labels": {"a": "b"}}}), name="f"),
    lived("a merge patch of an old revision", patch(at("g"), {"metadata": {"resourceVersion": "1"}, "spec": {"size": 4}}), name="g"),
    lived("a merge patch of its name", patch(at("h"), {"metadata": {"name": "x"}}), name="h"),
    lived("a strategic patch", patch(at("i"), {"spec": {"size": 4}}, media=STRATEGIC), name="i"),
    lived("a JSON patch", patch(at("j"), [{"op": "add", "path": "/spec/list", "value": ["x"]}], media="application/json-patch+json"), name="j"),
    lived("a JSON patch whose test fails", patch(at("k"), [{"op": "test", "path": "/spec/size", "value": 9}], media="application/json-patch+json"), name="k"),
    lived("a patch of its status", patch(f"{at('l')}/status", {"status": {"free": "form"}, "spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}}), get(f"{at('l')}/status"), name="l"),
    lived("a PUT of its status", put(f"{at('m')}/status", From("t", {"status": {"a": 1}, "spec": {"size": 9}})), name="m"),
    lived("a transition", patch(at("n"), {"spec": {"fixed": "b"}}), name="n", fixed="a"),
    lived("a removal of what is fixed", patch(at("o"), {"spec": {"fixed": None}}), name="o", fixed="a"),
    lived("unknown fields of a patch", patch(at("p"), {"spec": {"what": 1}}), patch(f"{at('p')}?fieldValidation=Strict", {"spec": {"what": 1}}), name="p"),
    lived("a patch that breaks a rule", patch(at("q"), {"spec": {"low": 5}}), name="q", high=1),
    lived("a deletion", delete(at("r")), get(at("r")), name="r"),
    lived("a deletion that a finalizer holds", patch(at("s"), {"metadata": {"finalizers": ["purelb.io/hold"]}}), delete(at("s")), patch(at("s"), {"metadata": {"finalizers": []}}), get(at("s")), name="s"),
    lived("a table", get(f"{at('u')}", accept="application/json;as=Table;g=meta.k8s.io;v=v1", leave_out=("rows.cells", "columnDefinitions.description")), name="u"),
    case("a custom resource created with a status", post(THINGS, thing("v") | {"status": {"a": 1}}), room=LIFE),
    case("a list of custom resources", get(f"{THINGS}?fieldSelector=metadata.name=w"), get(f"{THINGS}?fieldSelector=spec.size=3"), room=LIFE),
    case("a scale that was not asked for", get(f"{THINGS}/a/scale"), room=LIFE),
    case("a POST of a status", post(f"{THINGS}/a/status", thing("a")), room=LIFE),
)  # fmt: skip

# --- the functions of rules that this repository uses

WORDS = Room(
    name="functions of rules",
    prepare=(
        post(CRDS, crd("things", [version(spec=o(
            ip={**S, "maxLength": 50, "x-kubernetes-validations": rule("isIP(self)", message="is no address")},
            cidr={**S, "maxLength": 50, "x-kubernetes-validations": rule("isCIDR(self)", message="is no network")},
            numbers={**a(I, maxItems=9), "x-kubernetes-validations": [
                {"rule": "self.isSorted()", "message": "not sorted"}, {"rule": "self.sum() < 10", "message": "sum too large"},
                {"rule": "self.size() == 0 || self.min() > 0", "message": "min too small"}, {"rule": "self.size() == 0 || self.max() < 9", "message": "max too large"},
                {"rule": "self.indexOf(3) < 1", "message": "3 is not first"}]},
            wait={**S, "maxLength": 20, "x-kubernetes-validations": rule("duration(self) <= duration('1m')", message="too long")},
            text={**S, "maxLength": 20, "x-kubernetes-validations": [{"rule": "self.matches('^[a-z]+$')", "message": "odd letters"}, {"rule": "!self.contains('x')"}]},
            later={**S, "maxLength": 20, "x-kubernetes-validations": rule("oldSelf.orValue('') == '' || self == oldSelf.value()", message="once only", optionalOldSelf=True)},
        ))], kind="Thing")),
        get(THINGS, until={"status": 200}),
    ),
)  # fmt: skip


def ruled(what: str, **spec: Any) -> Case:
    return case(
        f"a rule about {what}",
        post(f"{THINGS}?dryRun=All", thing(**spec), only=("kind", "message", "details")),
        room=WORDS,
    )


RULED = (
    *(ruled(f"the address {text or 'of no letters'}", ip=text) for text in ("192.0.2.1", "2001:db8::1", "192.0.2.999", "192.0.2.01", "fe80::1%eth0", "::ffff:192.0.2.1", "")),
    *(ruled(f"the network {text}", cidr=text) for text in ("192.0.2.0/24", "192.0.2.1/24", "2001:db8::/32", "192.0.2.0/33", "192.0.2.0")),
    *(ruled(f"the numbers {numbers}", numbers=numbers) for numbers in ([], [1, 2], [2, 1], [4, 5, 6], [-1, 1], [1, 3], [3, 4], [1, 9])),
    *(ruled(f"the duration {text or 'of no letters'}", wait=text) for text in ("1m", "61s", "1m1ms", "1h", "x", "")),
    *(ruled(f"the text {text}", text=text) for text in ("abc", "ABC", "axb", "X")),
    case("a rule about an old value that may be absent", post(THINGS, thing("once", later="a"), only=("kind",)), patch(f"{THINGS}/once", {"spec": {"later": "b"}}, only=("kind", "message")),
         patch(f"{THINGS}/once", {"spec": {"later": None}}, only=("kind", "message")), room=WORDS),
)  # fmt: skip

# --- two versions, each with defaults of its own

OLD = o(mode={**S, "default": "Old"}, only={**S, "default": "one"})
NEW = o(mode={**S, "default": "New"}, later={**S, "default": "two"})
TWO = Room(
    name="two versions",
    prepare=(
        post(CRDS, crd("things", [version("v1", storage=False, spec=OLD), version("v2", spec=NEW)], kind="Thing")),
        get(THINGS, until={"status": 200}),
        get(THINGS_2, until={"status": 200}),
    ),
)
VERSIONS = (
    case("defaults of the older version", post(THINGS, thing("old")), get(f"{THINGS_2}/old"), get(f"{THINGS}/old"), room=TWO),
    case("defaults of the newer version", post(THINGS_2, named("<group>/v2", "Thing", "new", spec={})), get(f"{THINGS}/new"), get(f"{THINGS_2}/new"), room=TWO),
    case("a patch through the other version", post(THINGS, thing("turn")), patch(f"{THINGS_2}/turn", {"spec": {"later": "x"}}), get(f"{THINGS}/turn"), patch(f"{THINGS}/turn", {"spec": {"mode": None}}), get(f"{THINGS_2}/turn"), room=TWO),
    case("a version that is not served", get("/apis/<group>/v3/namespaces/<ns>/things"), room=TWO),
    case("discovery of two versions", get("/apis/<group>"), get("/apis/<group>/v1"), get("/apis/<group>/v2"), room=TWO),
)  # fmt: skip

# --- definitions themselves


def defined(what: str, *versions: Object, **spec: Any) -> Case:
    """A definition that nobody keeps: a dry run says what would be stored or what is wrong."""
    kind = spec.pop("kind", "Thing")
    return case(
        f"a definition with {what}",
        post(
            f"{CRDS}?dryRun=All",
            crd("things", list(versions), kind=kind, **spec),
            leave_out=("spec.versions", "status"),
        ),
    )


def schemed(what: str, schema: Object) -> Case:
    return defined(what, version(schema={"type": "object", "properties": {"spec": schema}}))


DEFINED = (
    defined("one version", version()),
    defined("no versions"),
    defined("two storage versions", version("v1"), version("v2")),
    defined("no storage version", version("v1", storage=False)),
    defined("two versions of one name", version("v1"), version("v1", storage=False)),
    defined("a bad scope", version(), scope="Everywhere"),
    defined("a bad version name", version("V1")),
    defined("names of its own", version(), names={"singular": "thing", "shortNames": ["th"], "categories": ["all"], "listKind": "Things"}),
    defined("a name that is none", version(), names={"shortNames": ["Not Good"]}),
    defined("another name than its group says", version(), group="other.example.com"),
    defined("a group without a dot", version(), group="conf"),
    defined("a conversion by webhook without a webhook", version(), conversion={"strategy": "Webhook"}),
    defined("no schema", {"name": "v1", "served": True, "storage": True}),
    schemed("a property without a type", {"type": "object", "properties": {"a": {}}}),
    schemed("an unknown type", {"type": "thing"}),
    schemed("an array without items", {"type": "array"}),
    schemed("both properties and additionalProperties", o(a=S) | {"additionalProperties": S}),
    schemed("additionalProperties false", {"type": "object", "additionalProperties": False}),
    schemed("a default against its schema", o(a={**I, "default": "x"})),
    schemed("a default against a limit", o(a={**I, "maximum": 3, "default": 4})),
    schemed("a default with an unknown field", o(a=o(b=S) | {"default": {"c": 1}})),
    schemed("a type below oneOf", o(a=S) | {"oneOf": [{"properties": {"a": {"type": "string"}}}]}),
    schemed("a default below anyOf", o(a=S) | {"anyOf": [{"properties": {"a": {"default": "x"}}}]}),
    schemed("uniqueItems", a(S, uniqueItems=True)),
    schemed("a map list without keys", a(o(k=S), **{"x-kubernetes-list-type": "map"})),
    schemed("a map list whose key may be absent", a(o(k=S), **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]})),
    schemed("a bad pattern", o(a={**S, "pattern": "["})),
    schemed("a rule that does not parse", o(a=S) | {"x-kubernetes-validations": rule("self.a ==")}),
    schemed("a rule with an unknown function", o(a=S) | {"x-kubernetes-validations": rule("frobnicate(self.a)")}),
    schemed("a rule without a rule", o(a=S) | {"x-kubernetes-validations": [{"message": "x"}]}),
    schemed("a reference", o(a={"$ref": "#/x"})),
    case("a definition, established", post(CRDS, crd("things", [version()], kind="Thing"), only=("kind", "metadata.generation", "spec.names", "spec.conversion")),
         get(f"{CRDS}/things.<group>", until={"body.status.storedVersions": ["v1"]}, only=("status.acceptedNames", "status.storedVersions")),
         get(THINGS, until={"status": 200}), get("/apis/<group>/v1"),
         delete(f"{CRDS}/things.<group>", only=("kind",)), get(THINGS, until={"status": 404}), get("/apis/<group>/v1", until={"status": 404})),
    case("a definition whose schema changes under its objects",
         post(CRDS, crd("things", [version(spec=o(a=S))], kind="Thing"), only=("kind",)), get(THINGS, until={"status": 200}, only=("kind",)),
         post(THINGS, thing(a="x", b="y")),
         patch(f"{CRDS}/things.<group>", {"spec": {"versions": [version(spec=o(a={**S, "maxLength": 0}, c={**S, "default": "new"}))]}}, only=("metadata.generation",)),
         get(f"{THINGS}/one", until={"body.spec.c": "new"}),
         patch(f"{THINGS}/one", {"metadata": {"labels": {"a": "b"}}}),
         patch(f"{THINGS}/one", {"spec": {"a": "yy"}})),
    case("a definition whose names change", post(CRDS, crd("things", [version()], kind="Thing"), only=("kind",)), get(THINGS, until={"status": 200}, only=("kind",)),
         patch(f"{CRDS}/things.<group>", {"spec": {"scope": "Cluster"}}, only=("status", "message", "reason", "code", "details"))),
    case("a cluster-wide custom resource", post(CRDS, crd("things", [version()], kind="Thing", scope="Cluster"), only=("kind",)),
         get("/apis/<group>/v1/things", until={"status": 200}), post("/apis/<group>/v1/things", thing()), get("/apis/<group>/v1/namespaces/<ns>/things"), get("/apis/<group>/v1/things/one")),
    case("a custom resource without a status subresource", post(CRDS, crd("things", [version(subresources={})], kind="Thing"), only=("kind",)),
         get(THINGS, until={"status": 200}, only=("kind",)), post(THINGS, thing() | {"status": {"a": 1}}), patch(f"{THINGS}/one", {"status": {"a": 2}}), patch(f"{THINGS}/one/status", {"status": {"a": 3}})),
    case("a scale", post(CRDS, crd("things", [version(spec=o(replicas=I), subresources={"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}})], kind="Thing"), only=("kind",)),
         get(THINGS, until={"status": 200}, only=("kind",)), post(THINGS, thing(replicas=2), only=("kind",)), get(f"{THINGS}/one/scale"),
         patch(f"{THINGS}/one/scale", {"spec": {"replicas": 5}}), get(f"{THINGS}/one", only=("spec", "metadata.generation"))),
    case("an embedded resource", post(CRDS, crd("things", [version(spec=o(template=FREE | {"x-kubernetes-embedded-resource": True}))], kind="Thing"), only=("kind",)),
         get(THINGS, until={"status": 200}, only=("kind",)),
         post(THINGS, thing("good", template={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "more": 1})),
         post(THINGS, thing("bare", template={"more": 1})), post(THINGS, thing("bad", template={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "Bad Name"}}))),
    case("a stored object that a new rule forbids keeps what it has",
         post(CRDS, crd("things", [version(spec=o(a=S, b=S))], kind="Thing"), only=("kind",)), get(THINGS, until={"status": 200}, only=("kind",)),
         post(THINGS, thing(a="long", b="long")),
         patch(f"{CRDS}/things.<group>", {"spec": {"versions": [version(spec=o(a={**S, "maxLength": 1}, b={**S, "maxLength": 1}, c={**S, "default": "new"}))]}}, only=("metadata.generation",)),
         get(f"{THINGS}/one", until={"body.spec.c": "new"}),
         patch(f"{THINGS}/one/status", {"status": {"a": 1}}), patch(f"{THINGS}/one", {"spec": {"b": "x"}}), patch(f"{THINGS}/one", {"spec": {"a": "other"}}), patch(f"{THINGS}/one", {"spec": {"b": "other"}})),
    case("selectable fields", post(CRDS, crd("things", [version(spec=o(color=S), selectableFields=[{"jsonPath": ".spec.color"}])], kind="Thing"), only=("kind",)),
         get(THINGS, until={"status": 200}, only=("kind",)), post(THINGS, thing("r", color="red"), only=("kind",)), post(THINGS, thing("b", color="blue"), only=("kind",)),
         get(f"{THINGS}?fieldSelector=spec.color=red"), get(f"{THINGS}?fieldSelector=spec.colour=red")),
    case("printer columns", post(CRDS, crd("things", [version(spec=o(color=S, size=I), additionalPrinterColumns=[
            {"name": "Color", "type": "string", "jsonPath": ".spec.color"}, {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1}])], kind="Thing"), only=("kind",)),
         get(THINGS, until={"status": 200}, only=("kind",)), post(THINGS, thing("r", color="red", size=4), only=("kind",)), post(THINGS, thing("s"), only=("kind",)),
         get(THINGS, accept="application/json;as=Table;g=meta.k8s.io;v=v1", leave_out=("columnDefinitions.description",))),
)  # fmt: skip

CASES: tuple[Case, ...] = (*ADMITTED, *LIVED, *RULED, *VERSIONS, *DEFINED)
