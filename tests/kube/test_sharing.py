# SPDX-License-Identifier: Apache-2.0
"""What is equal in many objects is kept once, and nobody can tell but the memory."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import FieldInfo, fields

from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS, LBNodeStatus
from purelb.kube.decode import Codec, Event
from purelb.kube.model import EndpointSlice, LeaseSpec, Service, same_but_rv
from purelb.kube.resources import CRDS, ENDPOINT_SLICES, LEASES, NAMESPACES, NODES, PODS, SERVICES, Resource
from purelb.kube.sharing import ITEMS_MAX, Sharing, keep_equal
from purelb.kube.store import Store


def body(number: int, **spec: Any) -> bytes:
    said = {"type": "LoadBalancer", "clusterIP": f"10.0.{number // 250}.{number % 250}", "ipFamilies": ["IPv4"], **spec}
    meta = {
        "name": f"s{number}",
        "namespace": "team",
        "uid": f"u{number}",
        "labels": {"team": "one"},
        "resourceVersion": "1",
    }
    return msgspec.json.encode({"kind": "Service", "metadata": meta, "spec": said})


PORTS = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]


def items(*bodies: bytes) -> list[Any]:
    codec = Codec(SERVICES)
    return [codec.item(msgspec.Raw(each)) for each in bodies]


def test_equal_parts_of_the_objects_of_a_list_are_one_object() -> None:
    one, two = items(body(1, ports=PORTS), body(2, ports=PORTS))
    assert one.spec.type is two.spec.type
    assert one.spec.ports is two.spec.ports
    assert one.spec.ip_families is two.spec.ip_families
    assert one.metadata.namespace is two.metadata.namespace
    assert (one.metadata.name, one.metadata.uid) != (two.metadata.name, two.metadata.uid)


def test_inside_of_lists_that_differ_equal_parts_are_shared_too() -> None:
    one, two = items(body(1, ports=PORTS), body(2, ports=PORTS[:1]))
    assert one.spec.ports is not two.spec.ports
    assert one.spec.ports[0].name is two.spec.ports[0].name
    assert one.spec.ports[0].protocol is two.spec.ports[0].protocol


@pytest.mark.parametrize("number", [1, 2, 3])
def test_nothing_but_identity_changes(number: int) -> None:
    plain = msgspec.json.decode(body(number, ports=PORTS), type=Service)
    assert items(body(7, ports=PORTS), body(9, ports=PORTS[1:]), body(number, ports=PORTS))[-1] == plain


def test_an_object_that_a_watch_adds_shares_with_those_of_the_list() -> None:
    codec = Codec(SERVICES)
    listed = codec.item(msgspec.Raw(body(1, ports=PORTS)))
    added = codec.event(b'{"type":"ADDED","object":' + body(2, ports=PORTS) + b"}")
    assert isinstance(listed, Service)
    assert isinstance(added, Event)
    assert listed.spec is not None
    assert added.object.spec is not None
    assert added.object.spec.ports is listed.spec.ports


def stored(*bodies: bytes) -> tuple[Codec[Service], Store[Service]]:
    """The objects of a list, and who decodes what follows."""
    codec = Codec(SERVICES)
    store: Store[Service] = Store(sharing=codec.sharing)
    replacement = store.replacement({}, "1")
    for each in bodies:
        item = codec.item(msgspec.Raw(each))
        assert isinstance(item, Service)
        replacement.take(item)
    store.commit(replacement)
    return codec, store


def version(number: int, rv: str, **meta: Any) -> bytes:
    """A version that somebody's write of the ports and the status made."""
    found = msgspec.json.decode(body(number, ports=PORTS))
    found["metadata"] |= {"resourceVersion": rv, **meta}
    found["status"] = {"conditions": [{"type": "Ready", "status": "True", "reason": "AllGood"}]}
    return msgspec.json.encode(found)


def by_its_answer(codec: Codec[Service], store: Store[Service], text: bytes) -> None:
    store.note_write(codec.one(text))


def by_the_watch(codec: Codec[Service], store: Store[Service], text: bytes) -> None:
    event = codec.event(b'{"type":"MODIFIED","object":' + text + b"}")
    assert isinstance(event, Event)
    store.upsert(event.object)


@pytest.mark.parametrize("learnt", [by_its_answer, by_the_watch])
def test_a_newer_version_shares_what_is_new_in_it_whoever_brings_it(
    learnt: Callable[[Codec[Service], Store[Service], bytes], None],
) -> None:
    codec, store = stored(body(1), body(2))
    for number in (1, 2):
        learnt(codec, store, version(number, "5", annotations={"pool": "local"}))
    one, two = (store.get(f"team/s{number}") for number in (1, 2))
    assert one is not None
    assert two is not None
    assert one == msgspec.json.decode(version(1, "5", annotations={"pool": "local"}), type=Service)
    assert one.spec is not None
    assert two.spec is not None
    assert one.spec.ports is two.spec.ports
    assert one.metadata.annotations is two.metadata.annotations
    assert one.status is not None
    assert two.status is not None
    assert one.status.conditions is two.status.conditions


def test_the_answer_that_made_an_object_shares_with_the_objects_of_the_list() -> None:
    codec, store = stored(body(1, ports=PORTS))
    by_its_answer(codec, store, version(2, "5"))
    one, two = (store.get(f"team/s{number}") for number in (1, 2))
    assert one is not None
    assert two is not None
    assert one.spec is not None
    assert two.spec is not None
    assert one.spec.ports is two.spec.ports


def test_of_what_differs_in_each_object_a_bounded_part_is_remembered() -> None:
    sharing, spec_fields = Sharing(), 4
    for number in range(1024):
        sharing.within(msgspec.json.decode(body(number), type=Service))
    filled = range(256, 256 + spec_fields + 10)
    assert len(sharing) in filled, "addresses fill their field, the others have one value each"


@pytest.mark.parametrize(("items", "kept", "own"), [(ITEMS_MAX, 5, 1), (ITEMS_MAX + 1, 0, 6)], ids=["short", "long"])
def test_no_version_of_a_long_list_is_kept_and_newer_ones_are_not_looked_through(
    items: int, kept: int, own: int
) -> None:
    names = [f"192.0.2.{number}" for number in range(items)]

    def version(turn: int) -> LBNodeStatus:
        announced = [{"ip": name} for name in (*names[turn:], *names[:turn])]
        return msgspec.json.decode(msgspec.json.encode({"status": {"announced": announced}}), type=LBNodeStatus)

    sharing, versions = Sharing(), [version(turn) for turn in range(6)]
    sharing.within(versions[0])
    before = len(sharing)
    for old, new in pairwise(versions):
        sharing.beside(old, new)
    assert len(sharing) - before == kept
    assert versions == [version(turn) for turn in range(6)]
    announced = [each for one in versions if one.status is not None for each in one.status.announced or ()]
    assert len({id(each.ip) for each in announced}) == own * items


def test_what_is_in_a_long_list_of_a_new_object_is_shared() -> None:
    names = [f"192.0.2.{number}" for number in range(ITEMS_MAX + 1)]
    said = msgspec.json.encode({"status": {"announced": [{"ip": name} for name in names]}})
    sharing, (one, two) = Sharing(), (msgspec.json.decode(said, type=LBNodeStatus) for _ in range(2))
    for each in (one, two):
        sharing.within(each)
    assert one.status is not None
    assert two.status is not None
    pairs = zip(one.status.announced or (), two.status.announced or (), strict=True)
    assert all(a.ip is b.ip for a, b in pairs)


def test_a_list_with_a_map_in_it_is_left_alone() -> None:
    class Part(msgspec.Struct, frozen=True):
        said: dict[str, str]

    class Whole(msgspec.Struct, frozen=True):
        parts: tuple[Part, ...] = ()

    one, two = Whole((Part({"a": "b"}),)), Whole((Part({"a": "b"}),))
    sharing = Sharing()
    sharing.within(one)
    sharing.within(two)
    assert two.parts is not one.parts
    assert two == one


def test_endpoints_share_the_names_of_their_nodes() -> None:
    codec = Codec(ENDPOINT_SLICES)

    def endpoints(*addresses: str) -> bytes:
        each = [{"addresses": [address], "nodeName": "node-1"} for address in addresses]
        return msgspec.json.encode({"kind": "EndpointSlice", "metadata": {"name": "a"}, "endpoints": each})

    one = codec.item(msgspec.Raw(endpoints("10.0.0.1", "10.0.0.2")))
    two = codec.item(msgspec.Raw(endpoints("10.0.0.3")))
    assert isinstance(one, EndpointSlice)
    assert isinstance(two, EndpointSlice)
    assert one.endpoints is not None
    assert two.endpoints is not None
    assert len({id(each.node_name) for each in (*one.endpoints, *two.endpoints)}) == 1


def test_what_did_not_change_of_an_object_stays_the_object_it_was() -> None:
    codec, store = Codec(SERVICES), Store[Service]()
    one, two = items(body(1, ports=PORTS), body(1, ports=PORTS))
    store.replace([one], {}, "5")
    changed = msgspec.json.decode(body(1, ports=PORTS)) | {
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    }
    event = codec.event(b'{"type":"MODIFIED","object":' + msgspec.json.encode(changed) + b"}")
    assert isinstance(event, Event)
    plain = msgspec.json.decode(msgspec.json.encode(changed), type=Service)
    store.upsert(event.object, "6")
    stored = store.get("team/s1")
    assert stored == plain
    assert stored is not None
    assert stored.spec is one.spec
    assert stored.status is not one.status
    assert two.spec is not one.spec, "nothing was done to what is not in the store"


CHANGED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the version": {"metadata": {"resourceVersion": "9", "generation": 4}},
    "a label": {"metadata": {"labels": {"team": "two"}}},
    "the spec": {"spec": {"type": "ClusterIP"}},
    "the status": {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
    "a label and the spec": {"metadata": {"labels": {}}, "spec": {"type": "ClusterIP"}},
    "the spec is gone": {"spec": None},
}


@pytest.mark.parametrize("what", CHANGED)
def test_keeping_what_is_equal_tells_whether_more_than_the_version_changed(what: str) -> None:
    old = msgspec.json.decode(body(1, ports=PORTS), type=Service)
    plain: dict[str, Any] = msgspec.json.decode(body(1, ports=PORTS))
    for name, change in CHANGED[what].items():
        plain[name] = change if change is None else {**plain.get(name, {}), **change}
    new, untouched = (msgspec.convert(plain, Service) for _ in range(2))
    assert keep_equal(old, new) is same_but_rv(old, untouched)
    assert keep_equal(old, new) is (what in {"nothing", "the version"})
    assert new == untouched


def labelled(number: int, **noted: str) -> bytes:
    meta = {"name": f"s{number}", "uid": f"u{number}", "labels": {"team": "one"}, "annotations": noted}
    return msgspec.json.encode({"kind": "Service", "metadata": meta, "spec": {"selector": {"app": "web"}}})


def test_equal_maps_are_one_map_and_those_that_differ_stay_their_own() -> None:
    one, two, three = items(labelled(1, pool="local"), labelled(2, pool="local"), labelled(3, pool="remote"))
    assert one.metadata.labels is two.metadata.labels is three.metadata.labels
    assert one.spec.selector is two.spec.selector
    assert one.metadata.annotations is two.metadata.annotations
    assert (two.metadata.annotations, three.metadata.annotations) == ({"pool": "local"}, {"pool": "remote"})


def test_a_manifest_in_an_annotation_is_not_remembered() -> None:
    sharing = Sharing()
    for number in range(3):
        sharing.within(msgspec.json.decode(labelled(number, manifest="x" * 1000), type=Service))
    assert len(sharing) == 2, "the labels and the selector"


def test_a_map_that_holds_maps_is_left_alone() -> None:
    class Nested(msgspec.Struct):
        parts: dict[str, Any]

    one, two = (Nested({"a": {"b": 1}}) for _ in range(2))
    sharing = Sharing()
    for each in (one, two):
        sharing.within(each)
    assert one.parts is not two.parts


def structures(annotation: Any, seen: dict[type[msgspec.Struct], None]) -> dict[type[msgspec.Struct], None]:
    """Every structure that stands in a value of this type."""
    if not (isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)):
        for argument in get_args(annotation):
            structures(argument, seen)
    elif annotation not in seen:
        seen[annotation] = None
        for field in fields(annotation):
            structures(field.type, seen)
    return seen


OURS = (SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES)
THEIRS = (SERVICES, ENDPOINT_SLICES, NODES, NAMESPACES, LEASES, PODS, CRDS)


@pytest.mark.parametrize("resource", [*OURS, *THEIRS], ids=lambda each: each.name)
def test_a_newer_version_of_whatever_is_watched_can_be_shared(resource: Resource[Any]) -> None:
    sharing = Sharing()
    for kind in structures(resource.type, {}):
        required = {field.name: "" for field in fields(kind) if field.required}
        old, new = (kind(**required) for _ in range(2))
        sharing.beside(old, new)
        assert new == old


def test_of_a_newer_version_lists_and_maps_are_shared_and_single_words_are_not() -> None:
    old, new = (msgspec.json.decode(body(1, ports=PORTS), type=Service) for _ in range(2))
    Sharing().beside(old, new)
    assert old.spec is not None
    assert new.spec is not None
    assert new.spec.ports is old.spec.ports
    assert new.metadata.namespace is old.metadata.namespace
    assert new.metadata.labels is old.metadata.labels
    assert new.spec.cluster_ip is not old.spec.cluster_ip


def test_what_a_type_can_hold_is_looked_up_once_also_when_that_is_nothing_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[type[msgspec.Struct]] = []

    def looked_up(kind: type[msgspec.Struct]) -> tuple[FieldInfo, ...]:
        asked.append(kind)
        return fields(kind)

    monkeypatch.setattr("purelb.kube.sharing.fields", looked_up)
    sharing, versions = Sharing(), [LeaseSpec(renew_time=str(number)) for number in range(3)]
    for old, new in pairwise(versions):
        sharing.beside(old, new)
    assert asked == [LeaseSpec]
