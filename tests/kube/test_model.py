# SPDX-License-Identifier: Apache-2.0
"""Every kind in every state that a server may send it in, and the names that the real server gives to its fields."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube import model
from purelb.kube.model import Lease, ObjectMeta, PartialObject, Service, key, labels, same_but_rv
from tests.kube.recorded.refresh import FILE, KINDS, struct_in

if TYPE_CHECKING:
    from purelb.kube.resources import Resource

RECORDED = json.loads(FILE.read_text())
IDS = [resource.kind for resource in KINDS]

Info = msgspec.inspect.StructType


def info(kind: type) -> Info:
    found = msgspec.inspect.type_info(kind)
    assert isinstance(found, Info)
    return found


def made(struct: Info, what: str) -> dict[str, Any]:
    """An object of this Struct with every field: lists and maps `null`, `empty` or `one` (an item, also in inner Structs)."""
    out: dict[str, Any] = {}
    for field in struct.fields:
        out[field.encode_name] = value(field.type, what)
    return out


def value(kind: msgspec.inspect.Type, what: str) -> Any:
    inner = struct_in(kind)
    match kind:
        case msgspec.inspect.UnionType(types=types):
            one = next(each for each in types if not isinstance(each, msgspec.inspect.NoneType))
            return value(one, what)
        case msgspec.inspect.VarTupleType(item_type=item):
            return {"null": None, "empty": []}.get(what, [value(item, what)])
        case msgspec.inspect.DictType():
            return {"null": None, "empty": {}}.get(what, {"a": "b"})
        case msgspec.inspect.StructType():
            assert inner is not None
            return made(inner, what)
        case msgspec.inspect.IntType():
            return 7
        case msgspec.inspect.BoolType():
            return True
        case _:
            return "text"


def decoded(resource: Resource[Any], obj: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(obj), type=resource.type)


# The names

# Conditions of definitions are a type of their own, older than metav1.Condition, and newer servers gave them the field.
SHARED = {"CustomResourceDefinition.status.conditions[].observedGeneration: the server knows no such field"}


def complaints(struct: Info, names: Any, path: str) -> list[str]:
    wanted = {
        msgspec.inspect.StrType: "string",
        msgspec.inspect.IntType: "integer",
        msgspec.inspect.BoolType: "boolean",
    }
    out = []
    for field in struct.fields:
        here, there = f"{path}.{field.encode_name}", names.get(field.encode_name)
        types = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        plain = [each for each in types if not isinstance(each, msgspec.inspect.NoneType)]
        inner = struct_in(field.type)
        match there:
            case None:
                out.append(f"{here}: the server knows no such field")
            case [dict() as item] if inner is not None:
                out += complaints(inner, item, f"{here}[]")
            case dict() if inner is not None:
                out += complaints(inner, there, here)
            case ["string"]:
                out += [] if isinstance(plain[0], msgspec.inspect.VarTupleType) else [f"{here} is a list"]
            case "map":
                out += [] if isinstance(plain[0], msgspec.inspect.DictType) else [f"{here} is a map"]
            case _:
                out += [] if [wanted.get(type(each)) for each in plain] == [there] else [f"{here} is of type {there}"]
    return out


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_each_field_has_the_name_and_type_that_the_real_server_gives_it(resource: Resource[Any]) -> None:
    found = complaints(info(resource.type), RECORDED["kinds"][resource.kind], resource.kind)
    assert [each for each in found if each not in SHARED] == []


def test_a_misspelt_field_would_be_found() -> None:
    class Wrong(msgspec.Struct, rename="camel"):
        cluster_ip: str = ""
        load_balancer_ip: str = ""
        selector: tuple[str, ...] | None = ()
        ports: int = 0

    assert len(complaints(info(Wrong), RECORDED["kinds"]["Service"]["spec"], "spec")) == 4


# The states


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
@pytest.mark.parametrize("what", ["null", "empty", "one"])
def test_lists_and_maps_may_be_null_or_empty(resource: Resource[Any], what: str) -> None:
    obj = decoded(resource, {**made(info(resource.type), what), "kind": resource.kind})
    assert key(obj) == "text/text"
    assert dict(labels(obj)) == dict(model.annotations(obj)) == ({"a": "b"} if what == "one" else {})
    assert obj.metadata.labels is None if what == "null" else obj.metadata.labels is not None


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_everything_may_be_absent(resource: Resource[Any]) -> None:
    bare, bookmark = decoded(resource, {}), decoded(resource, {"metadata": {"resourceVersion": "5"}})
    assert (key(bare), labels(bare), model.annotations(bare)) == ("", {}, {})
    assert bookmark.metadata.resource_version == "5"
    for field in info(resource.type).fields:
        if field.name != "metadata":
            decoded(resource, {field.encode_name: None} if not field.required and nullable(field) else {})


def nullable(field: msgspec.inspect.Field) -> bool:
    return isinstance(field.type, msgspec.inspect.UnionType) and field.type.includes_none


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_every_list_map_and_inner_struct_may_be_null(resource: Resource[Any]) -> None:
    def check(struct: Info, path: str) -> None:
        for field in struct.fields:
            inner = struct_in(field.type)
            holds = isinstance(field.type, msgspec.inspect.VarTupleType | msgspec.inspect.DictType)
            assert not holds, f"{path}.{field.name} must be | None"
            if inner is not None:
                check(inner, f"{path}.{field.name}")

    check(info(resource.type), resource.kind)


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_unknown_fields_are_let_go(resource: Resource[Any]) -> None:
    obj = made(info(resource.type), "one")
    assert decoded(resource, {**obj, "fromTheFuture": [{"deep": [1, 2]}], "apiVersion": "x/v9"}) == decoded(
        resource, obj
    )


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_another_kind_is_refused_and_none_is_fine(resource: Resource[Any]) -> None:
    decoded(resource, {"kind": resource.kind})
    with pytest.raises(msgspec.ValidationError, match=r"\$\.kind"):
        decoded(resource, {"kind": "SomethingElse"})


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_a_number_is_no_text(resource: Resource[Any]) -> None:
    for wrong in ({"name": 5}, {"resourceVersion": 5}, {"labels": {"a": 5}}):
        with pytest.raises(msgspec.ValidationError):
            decoded(resource, {"metadata": wrong})


@pytest.mark.parametrize("resource", KINDS, ids=IDS)
def test_no_struct_is_tracked_by_the_collector(resource: Resource[Any]) -> None:
    """`gc=False`: ten thousand cached objects must not cost ten thousand visits per collection."""

    def check(struct: Info) -> None:
        assert struct.cls.__struct_config__.gc is False, struct.cls
        assert struct.cls.__struct_config__.frozen is True, struct.cls
        for field in struct.fields:
            inner = struct_in(field.type)
            if inner is not None:
                check(inner)

    check(info(resource.type))


@pytest.mark.parametrize("moment", ["2030-01-02T03:04:05.000000Z", "2030-01-02T03:04:05.120000Z", None])
def test_times_of_a_lease_stay_as_they_were_written(moment: str | None) -> None:
    text = json.dumps({"kind": "Lease", "spec": {"renewTime": moment}})
    spec = msgspec.json.decode(text, type=Lease).spec
    assert spec is not None
    assert spec.renew_time == moment
    assert moment is None or dt.datetime.fromisoformat(moment).tzinfo is not None


# Helpers

ONE = Service(metadata=ObjectMeta(name="a", namespace="d", uid="u", resource_version="1", generation=1))
META = ONE.metadata
SAME: dict[str, tuple[Any, bool]] = {
    "the same": (ONE, True),
    "a new version and generation": (
        msgspec.structs.replace(ONE, metadata=msgspec.structs.replace(META, resource_version="2", generation=2)),
        True,
    ),
    "other labels": (
        msgspec.structs.replace(ONE, metadata=msgspec.structs.replace(META, labels={"a": "b"})),
        False,
    ),
    "another uid": (msgspec.structs.replace(ONE, metadata=msgspec.structs.replace(META, uid="v")), False),
    "being deleted": (
        msgspec.structs.replace(ONE, metadata=msgspec.structs.replace(META, deletion_timestamp="now")),
        False,
    ),
    "another spec": (msgspec.structs.replace(ONE, spec=model.ServiceSpec(type="LoadBalancer")), False),
    "another status": (msgspec.structs.replace(ONE, status=None), False),
    "another type": (PartialObject(metadata=META), False),
}


@pytest.mark.parametrize("what", SAME)
def test_two_versions_are_the_same_if_nothing_but_version_and_generation_differ(what: str) -> None:
    other, wanted = SAME[what]
    assert same_but_rv(ONE, other) is wanted
    assert same_but_rv(other, ONE) is wanted


def test_keys_have_a_namespace_where_there_is_one_and_need_a_name() -> None:
    assert key(PartialObject(metadata=ObjectMeta(name="n"))) == "n"
    assert key(PartialObject(metadata=ObjectMeta(name="n", namespace="s"))) == "s/n"
    assert key(PartialObject(metadata=ObjectMeta(namespace="s"))) == ""
