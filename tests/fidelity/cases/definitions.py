# SPDX-License-Identifier: Apache-2.0
"""CustomResourceDefinitions: several versions with defaults of their own, what makes a definition invalid, how it changes."""

from __future__ import annotations

from typing import Any

from tests.fidelity.cases.customs import THINGS, I, S, a, o, rule, thing
from tests.fidelity.cases.objects import CRDS, FREE, crd, named, version
from tests.fidelity.steps import Case, Object, Room, case, delete, get, patch, post

THINGS_2 = "/apis/<group>/v2/namespaces/<ns>/things"

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
    case("discovery of two versions", get("/apis/<group>", until={"body.preferredVersion.version": "v2"}), get("/apis/<group>/v1", until={"status": 200}), get("/apis/<group>/v2", until={"status": 200}), room=TWO),
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
         get(f"{CRDS}/things.<group>", until={"body.status.acceptedNames.kind": "Thing"}, only=("status.acceptedNames", "status.storedVersions")),
         get(THINGS, until={"status": 200}), get("/apis/<group>/v1", until={"status": 200}),
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

CASES: tuple[Case, ...] = (*VERSIONS, *DEFINED)
