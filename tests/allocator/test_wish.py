# SPDX-License-Identifier: Apache-2.0
"""Reading what people write into Services."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.allocator.refusals import Refusal
from purelb.allocator.wish import Wish, read_wish, rough_wish
from purelb.api import annotations as words
from purelb.kube.model import ObjectMeta, Service, ServicePort, ServiceSpec
from tests.allocator.objects import ip, service

ANYTHING = st.text(max_size=80)


def wish(**more: object) -> Wish:
    found = read_wish(service(**more))  # type: ignore[arg-type]
    assert isinstance(found, Wish), found
    return found


def test_a_plain_service_wishes_for_anything() -> None:
    assert wish().text == "any"
    assert wish().families == (4,)


def test_the_canonical_text_names_group_then_addresses() -> None:
    noted = {"purelb.io/addresses": " 192.0.2.1 ,2001:db8::1, 192.0.2.1", "purelb.io/service-group": " far "}
    found = wish(annotations=noted, families=("IPv4", "IPv6"))
    assert found.text == "group=far addresses=192.0.2.1,2001:db8::1"
    assert found.addresses == (ip("192.0.2.1"), ip("2001:db8::1"))


def test_an_ipv4_mapped_address_is_taken_as_ipv4() -> None:
    assert wish(annotations={"purelb.io/addresses": "::ffff:192.0.2.1"}).addresses == (ip("192.0.2.1"),)


def test_the_annotation_beats_the_deprecated_field() -> None:
    old = wish(load_balancer_ip="192.0.2.5")
    assert (old.addresses, old.deprecated) == ((ip("192.0.2.5"),), True)
    new = wish(load_balancer_ip="192.0.2.5", annotations={"purelb.io/addresses": "192.0.2.6"})
    assert (new.addresses, new.deprecated) == ((ip("192.0.2.6"),), False)


@pytest.mark.parametrize(
    ("families", "policy", "expected"),
    [
        (("IPv4",), None, ((4,), "SingleStack")),
        (("IPv6", "IPv4"), None, ((6, 4), "PreferDualStack")),
        ((), None, ((4,), "SingleStack")),
        (("IPv4", "IPv6"), "RequireDualStack", ((4, 6), "RequireDualStack")),
    ],
)
def test_families_and_policy_default_as_the_api_does(
    families: tuple[str, ...], policy: str | None, expected: object
) -> None:
    spec = ServiceSpec(type="LoadBalancer", cluster_ip="10.96.0.9", ip_families=families, ip_family_policy=policy)
    found = read_wish(Service(metadata=ObjectMeta(name="web", namespace="shop"), spec=spec))
    assert isinstance(found, Wish)
    assert (found.families, found.policy) == expected


def test_without_families_it_is_that_of_the_cluster_ip() -> None:
    spec = ServiceSpec(type="LoadBalancer", cluster_ip="fd00:96::9", ip_families=())
    found = read_wish(Service(metadata=ObjectMeta(name="web", namespace="shop"), spec=spec))
    assert isinstance(found, Wish)
    assert (found.families, found.policy) == ((6,), "SingleStack")


@pytest.mark.parametrize(
    ("noted", "text"),
    [
        (
            {"purelb.io/addresses": "192.0.2.1/32"},
            'purelb.io/addresses: a prefix where an address belongs in "192.0.2.1/32"',
        ),
        ({"purelb.io/addresses": "10.0.0.300"}, 'purelb.io/addresses: no address in "10.0.0.300"'),
        ({"purelb.io/addresses": "192.0.2.1;rm -rf"}, 'purelb.io/addresses: no address in "192.0.2.1;rm -rf"'),
        ({"purelb.io/addresses": "1\x00"}, 'purelb.io/addresses: no address in "1?"'),
        ({"purelb.io/allow-shared-ip": "a b"}, 'purelb.io/allow-shared-ip: white space in "a b"'),
    ],
)
def test_what_cannot_be_meant_is_refused_naming_place_and_text(noted: dict[str, str], text: str) -> None:
    found = read_wish(service(annotations=noted))
    assert isinstance(found, Refusal)
    assert (found.reason, found.text) == ("InvalidRequest", text)


@pytest.mark.parametrize("text", ["None", ""])
def test_a_service_without_a_cluster_ip_is_refused(text: str) -> None:
    found = read_wish(service(cluster_ip=text))
    assert isinstance(found, Refusal)
    assert found.text == f'spec.clusterIP: a Service without a cluster IP cannot be load-balanced in "{text}"'


def test_a_hostile_service_is_read_or_refused_in_few_words() -> None:
    ports = tuple(("TCP", number % 65536) for number in range(10_000))
    for noted in ({}, {"purelb.io/addresses": "," * 1_000_000}, {"purelb.io/service-group": "x" * 1_000_000}):
        hostile = service("n" * 63, namespace="m" * 63, ports=ports, annotations=noted)
        found = read_wish(hostile)
        assert isinstance(found, Wish) or len(found.text) < 400


def test_null_lists_read_as_empty() -> None:
    spec = ServiceSpec(type="LoadBalancer", cluster_ip="10.0.0.1", ip_families=None, ports=None, cluster_ips=None)
    found = read_wish(Service(metadata=ObjectMeta(name="web", namespace="shop", annotations=None), spec=spec))
    assert isinstance(found, Wish)
    assert (found.families, found.ports) == ((4,), frozenset())


@given(
    noted=st.dictionaries(st.sampled_from(words.USERS), ANYTHING),
    families=st.lists(st.one_of(st.sampled_from(["IPv4", "IPv6"]), ANYTHING), max_size=3),
    policy=ANYTHING,
    cluster_ip=ANYTHING,
    asked=ANYTHING,
    port=st.integers(-1, 70_000),
)
def test_no_text_makes_reading_raise_and_an_unreadable_wish_is_still_known_roughly(
    noted: dict[str, str], families: list[str], policy: str, cluster_ip: str, asked: str, port: int
) -> None:
    spec = ServiceSpec(
        type="LoadBalancer",
        cluster_ip=cluster_ip,
        ip_families=tuple(families),
        ip_family_policy=policy,
        load_balancer_ip=asked,
        ports=(ServicePort(port=port), ServicePort(port=port)),
    )
    read = Service(metadata=ObjectMeta(name="web", namespace="shop", annotations=noted), spec=spec)
    found, rough = read_wish(read), rough_wish(read)
    assert rough.ports == {("TCP", port)}
    if isinstance(found, Wish):
        assert rough == found
        assert words.parse_wish(found.text) is not None
        assert words.print_wish(words.parse_wish(found.text) or words.AllocatedWish()) == found.text
    else:
        assert found.reason == "InvalidRequest"


@given(
    noted=st.dictionaries(st.sampled_from((*words.USERS, *words.OURS, "example.com/theirs")), ANYTHING, max_size=4),
    asked=st.sampled_from(["", "192.0.2.1", "x"]),
)
def test_who_notes_nothing_of_a_wish_is_read_as_one_who_notes_something_that_is_no_part_of_it(
    noted: dict[str, str], asked: str
) -> None:
    """The short way for a Service without annotations of a user answers what the long one does."""
    more = {**noted, words.NODE_AFFINITY: "zone in (a)"}
    short, long = (read_wish(service(annotations=each, load_balancer_ip=asked)) for each in (noted, more))
    assert short == long


@pytest.mark.parametrize(
    ("word", "value", "field"),
    [
        (words.SERVICE_GROUP, "far", "group"),
        (words.ADDRESSES, "192.0.2.1", "addresses"),
        (words.ALLOW_SHARED_IP, "web", "sharing_key"),
        (words.ALLOW_LOCAL, "", "allow_local"),
        (words.MULTI_POOL, "true", "multi_pool"),
        (words.RE_EVALUATE, "true", "re_evaluate"),
    ],
)
def test_each_annotation_of_a_wish_is_read_alone(word: str, value: str, field: str) -> None:
    assert getattr(wish(annotations={word: value}), field) != getattr(wish(), field)
