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

CASES: tuple[Case, ...] = (*ADMITTED, *LIVED, *RULED)
