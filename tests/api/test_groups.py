# SPDX-License-Identifier: Apache-2.0
"""What a stored ServiceGroup means: the table of the parser, row by row, and what exclusions leave."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.api.groups import Accepted, Group, Refusal, parse_group
from purelb.api.kinds import ServiceGroup, ServiceGroupSpec
from purelb.net.ranges import overlap, print_interval, size, subtract
from tests.api.examples import EXTERNAL, LOCAL, NETBOX, SELECTOR, V4, V6

INSTALL = "purelb-system"


def stored(spec: Any, *, name: str = "pool", namespace: str = INSTALL) -> ServiceGroup:
    metadata = {"name": name, "namespace": namespace, "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return msgspec.convert({"kind": "ServiceGroup", "metadata": metadata, "spec": spec}, ServiceGroup)


def accepted(spec: Any, **named: str) -> Accepted:
    found = parse_group(stored(spec, **named), install_namespace=INSTALL)
    assert isinstance(found, Accepted), found
    return found


def group(spec: Any, **named: str) -> Group:
    return accepted(spec, **named).group


def refused(spec: Any, **named: str) -> Refusal:
    found = parse_group(stored(spec, **named), install_namespace=INSTALL)
    assert isinstance(found, Refusal), found
    return found


def listed(made: Group) -> list[str]:
    return [
        str(ip_address(number) if entry.family == 4 else IPv6Address(number))
        for entry in made.entries
        for interval in entry.intervals
        for number in range(interval.low, interval.high + 1)
    ]


def v4(**fields: Any) -> dict[str, Any]:
    return {"local": {"v4pool": {**V4, **fields}}}


def test_addresses_are_handed_out_in_the_written_order() -> None:
    made = group(v4(pool="192.0.2.20,192.0.2.10-192.0.2.12, 192.0.2.32/30"))
    assert listed(made) == [
        "192.0.2.20",
        "192.0.2.10",
        "192.0.2.11",
        "192.0.2.12",
        "192.0.2.32",
        "192.0.2.33",
        "192.0.2.34",
        "192.0.2.35",
    ]
    assert made.addresses == ("192.0.2.20,192.0.2.10-192.0.2.12, 192.0.2.32/30",)


@pytest.mark.parametrize(
    ("pool", "item"),
    [
        ("192.0.2.1,", '""'),
        ("1.1.1.foo-1.1.1.2", '"1.1.1.foo-1.1.1.2"'),
        ("192.0.2.9-192.0.2.1", '"192.0.2.9-192.0.2.1"'),
        ("2001:db8::1", '"2001:db8::1"'),
        ("198.51.100.1", '"198.51.100.1"'),
    ],
)
def test_a_pool_that_cannot_be_read_is_an_invalid_spec_that_quotes_the_item(pool: str, item: str) -> None:
    answer = refused(v4(pool=pool))
    assert answer.reason == "InvalidSpec"
    assert answer.text.startswith("v4pool.pool: ")
    assert item in answer.text


@pytest.mark.parametrize(
    ("pool", "subnet", "count"),
    [
        ("1.1.1.1/32", "1.1.1.0/24", 1),
        ("10.0.0.0/8", "10.0.0.0/8", 2**24),
        ("2001:db8::1/112", "2001:db8::/64", 65535),
        ("2001:db8::/64", "2001:db8::/64", 2**64),
    ],
)
def test_the_size_of_an_entry_is_exact(pool: str, subnet: str, count: int) -> None:
    slot = "v6pool" if ":" in pool else "v4pool"
    (entry,) = group({"local": {slot: {"pool": pool, "subnet": subnet}}}).entries
    assert entry.size == count


def test_entries_come_from_the_lists_then_the_single_ones_then_the_early_form_ipv4_first() -> None:
    def one(last: int) -> dict[str, str]:
        return {"pool": f"192.0.2.{last}", "subnet": "192.0.2.0/24"}

    made = group(
        {
            "local": {
                "v6pool": V6,
                "v4pool": one(3),
                "v4pools": [one(2), one(1)],
                "v6pools": [{"pool": "2001:db8:1::1", "subnet": "2001:db8:1::/64"}],
            }
        }
    )
    pools = [entry.pool for entry in made.entries]
    assert pools == ["192.0.2.2", "192.0.2.1", "192.0.2.3", "2001:db8:1::1", "2001:db8::/64"]


@pytest.mark.parametrize(
    ("text", "length"), [(None, 24), ("", 24), ("default", 24), ("32", 32), ("/32", 32), ("/8", 8)]
)
def test_aggregation_is_the_length_of_the_subnet_or_the_number_given(text: str | None, length: int) -> None:
    made = group(v4() if text is None else v4(aggregation=text))
    assert made.prefix_length(IPv4Address("192.0.2.7")) == length


@pytest.mark.parametrize("text", ["/33", "/7", "x", "/128", "/24 "])
def test_aggregation_that_ipv4_does_not_have_is_an_invalid_spec(text: str) -> None:
    assert refused(v4(aggregation=text)).reason == "InvalidSpec"


def test_the_early_form_is_one_more_entry_of_the_family_of_its_text() -> None:
    early = {"pool": "2001:db8::9", "subnet": "2001:db8::/64", "aggregation": "128"}
    made = group({"local": {"v4pool": V4, **early}})
    assert [(entry.family, entry.prefix_length) for entry in made.entries] == [(4, 24), (6, 128)]


@pytest.mark.parametrize("slot", ["v4pool", "v4pools"])
def test_the_early_form_in_a_family_that_has_entries_is_an_invalid_spec(slot: str) -> None:
    early = {"pool": "192.0.2.7", "subnet": "192.0.2.0/24"}
    answer = refused({"local": {slot: [V4] if slot.endswith("s") else V4, **early}})
    assert answer.reason == "InvalidSpec"
    assert "IPv4" in answer.text


@pytest.mark.parametrize("early", [{"pool": "192.0.2.7"}, {"subnet": "192.0.2.0/24"}])
def test_half_of_the_early_form_is_an_invalid_spec(early: dict[str, str]) -> None:
    assert refused({"local": early}) == Refusal("InvalidSpec", "pool and subnet belong together")


# exclusions


def test_excluded_addresses_are_left_out_and_kept_to_say_so() -> None:
    made = group(v4(pool="192.0.2.1-192.0.2.5", exclude=["192.0.2.2", "192.0.2.4-192.0.2.9, 198.51.100.0/24"]))
    assert listed(made) == ["192.0.2.1", "192.0.2.3"]
    (entry,) = made.entries
    assert [str(part.first) for part in entry.excluded] == ["192.0.2.2", "192.0.2.4"]
    assert entry.holds(IPv4Address("192.0.2.4"))
    assert not entry.holds(IPv4Address("192.0.2.6"))


def test_excluding_everything_leaves_no_addresses() -> None:
    assert refused(v4(exclude=["192.0.2.0/24"])).reason == "NoAddresses"
    assert refused(v4(pool="192.0.2.0/31", excludeFirstLast=True)).reason == "NoAddresses"


def test_a_group_without_any_pool_has_no_addresses() -> None:
    assert refused({"remote": {}}).reason == "NoAddresses"


def test_exclude_first_last_takes_the_ends_of_networks_and_what_ends_in_0_or_255() -> None:
    made = group(v4(pool="10.0.0.0/23", subnet="10.0.0.0/23", excludeFirstLast=True))
    addresses = listed(made)
    assert len(addresses) == 508
    assert not {"10.0.0.0", "10.0.0.255", "10.0.1.0", "10.0.1.255"} & set(addresses)


def test_exclude_first_last_leaves_out_only_the_first_address_of_an_ipv6_subnet() -> None:
    made = group({"local": {"v6pool": {**V6, "excludeFirstLast": True}}})
    (entry,) = made.entries
    assert entry.size == 2**64 - 1
    assert str(entry.intervals[0].first) == "2001:db8::1"


def test_more_intervals_than_the_limit_are_an_invalid_spec() -> None:
    answer = refused(v4(pool="10.0.0.0/8", subnet="10.0.0.0/8", excludeFirstLast=True))
    assert answer.reason == "InvalidSpec"
    assert "8192 intervals" in answer.text


def test_more_excluded_items_than_the_limit_are_an_invalid_spec() -> None:
    texts = [",".join(f"10.0.{block}.{last}" for last in range(250)) for block in range(40)]
    answer = refused(v4(pool="10.0.0.0/8", subnet="10.0.0.0/8", exclude=texts))
    assert answer.reason == "InvalidSpec"
    assert "v4pool.exclude: more than 8192 items" in answer.text


@pytest.mark.parametrize(
    ("family", "pool", "told", "left"),
    [
        ("4", "126.255.255.254-128.0.0.1", ["127.0.0.0/8"], ["126.255.255.254-126.255.255.255", "128.0.0.0-128.0.0.1"]),
        ("4", "0.0.0.0/31", ["0.0.0.0/32"], ["0.0.0.1"]),
        ("4", "169.253.255.255-169.255.0.0", ["169.254.0.0/16"], ["169.253.255.255", "169.255.0.0"]),
        ("4", "223.255.255.255-240.0.0.0", ["224.0.0.0/4"], ["223.255.255.255", "240.0.0.0"]),
        ("4", "255.255.255.254/31", ["255.255.255.255/32"], ["255.255.255.254"]),
        ("6", "::-::2", ["::/128", "::1/128"], ["::2"]),
        (
            "6",
            "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff-fec0::",
            ["fe80::/10"],
            ["fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::"],
        ),
        (
            "6",
            "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff-ff02::1",
            ["ff00::/8"],
            ["feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ),
    ],
)
def test_addresses_that_can_serve_nobody_are_left_out_and_told(
    family: str, pool: str, told: list[str], left: list[str]
) -> None:
    name, subnet = f"v{family}pool", "0.0.0.0/0" if family == "4" else "::/0"
    found = accepted({"remote": {name: {"pool": pool, "subnet": subnet}}})
    warnings = tuple(f"{name}: addresses of {network} can serve nobody and are left out" for network in told)
    assert found.warnings == warnings
    (entry,) = found.group.entries
    assert [print_interval(interval) for interval in entry.intervals] == left
    assert size(entry.intervals) + size(entry.excluded) == size(entry.covered)


def test_as_many_exclusions_as_are_allowed_are_read_and_one_more_is_not() -> None:
    excludes = [f"192.0.2.{number}" for number in range(256)]
    spare = {"pool": "192.0.2.0/24, 198.51.100.1", "subnet": "0.0.0.0/0"}
    assert listed(group({"remote": {"v4pool": {**spare, "exclude": excludes}}})) == ["198.51.100.1"]
    answer = refused({"remote": {"v4pool": {**spare, "exclude": [*excludes, "192.0.2.1"]}}})
    assert answer == Refusal("InvalidSpec", "v4pool.exclude: 257 items are more than 256")


@pytest.mark.parametrize("holes", [8191, 8192])
def test_exclusions_may_leave_8192_intervals_and_not_one_more(holes: int) -> None:
    pierced = ", ".join(f"10.{number >> 7}.{2 * number & 255}.1" for number in range(holes))
    spec = {"remote": {"v4pool": {"pool": "10.0.0.0/8", "subnet": "10.0.0.0/8", "exclude": [pierced]}}}
    if holes == 8191:
        assert sum(len(entry.intervals) for entry in group(spec).entries) == 8192
    else:
        assert refused(spec).text.startswith("more than 8192 intervals are left after exclusions")


@pytest.mark.parametrize("more", [0, 1])
def test_a_group_may_name_8192_items_though_they_are_few_addresses_and_not_one_more(more: int) -> None:
    pools = [{"pool": ",".join(["192.0.2.1"] * count), "subnet": "192.0.2.0/24"} for count in (4096, 4096 + more)]
    spec = {"remote": {"v4pools": pools}}
    if not more:
        assert listed(group(spec)) == ["192.0.2.1"]
    else:
        assert refused(spec).text.startswith("more than 8192 intervals")


@pytest.mark.parametrize(
    ("family", "pool", "subnet", "told"),
    [
        pytest.param("4", "192.0.2.0/24", "192.0.2.0/24", "192.0.2.255 is the broadcast address", id="broadcast"),
        pytest.param("4", "192.0.2.254-192.0.2.255", "192.0.2.0/23", None, id="inside a larger subnet"),
        pytest.param("4", "192.0.2.6-192.0.2.7", "192.0.2.6/31", None, id="of two there is none"),
        pytest.param("4", "192.0.2.7", "192.0.2.4/30", "192.0.2.7 is the broadcast address", id="of four"),
        pytest.param("6", "2001:db8::/64", "2001:db8::/64", "2001:db8:: is the subnet-router anycast", id="anycast"),
        pytest.param("6", "2001:db8::1/64", "2001:db8::/64", None, id="from the next one on"),
        pytest.param("6", "2001:db8::/127", "2001:db8::/127", None, id="of two there is none, in IPv6 too"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "more", "tells"),
    [
        pytest.param("local", {}, True, id="on a link"),
        pytest.param("local", {"offSubnet": "Dummy"}, False, id="perhaps on none"),
        pytest.param("remote", {}, False, id="on none"),
    ],
)
def test_who_hands_out_what_the_link_has_a_use_for_is_told_and_keeps_it(
    family: str, pool: str, subnet: str, told: str | None, kind: str, more: dict[str, Any], tells: bool
) -> None:
    found = accepted({kind: {f"v{family}pool": {"pool": pool, "subnet": subnet}, **more}})
    assert [entry.excluded for entry in found.group.entries] == [()]
    assert len(found.warnings) == (told is not None and tells)
    for text in found.warnings:
        assert text.startswith(told or "")
        assert text.endswith(": exclude it, or set excludeFirstLast")


@pytest.mark.parametrize(
    ("for_four", "for_six"),
    [
        pytest.param({"exclude": ["192.0.2.255"]}, {"exclude": ["2001:db8::"]}, id="exclude"),
        pytest.param({"excludeFirstLast": True}, {"excludeFirstLast": True}, id="excludeFirstLast"),
    ],
)
def test_either_remedy_ends_the_warning_of_what_the_link_has_a_use_for(for_four: Any, for_six: Any) -> None:
    four, six = {"pool": "192.0.2.0/24", "subnet": "192.0.2.0/24"}, {"pool": "2001:db8::/64", "subnet": "2001:db8::/64"}
    assert len(accepted({"local": {"v4pool": four, "v6pool": six}}).warnings) == 2
    assert accepted({"local": {"v4pool": four | for_four, "v6pool": six | for_six}}).warnings == ()


def test_a_group_of_addresses_that_can_serve_nobody_has_none_and_says_why() -> None:
    answer = refused({"remote": {"v4pool": {"pool": "127.0.0.0/29", "subnet": "127.0.0.0/8"}}})
    assert (answer.reason, answer.text) == (
        "NoAddresses",
        "no address is left after exclusions; v4pool: addresses of 127.0.0.0/8 can serve nobody and are left out",
    )


def test_who_has_excluded_what_can_serve_nobody_is_told_nothing_of_it() -> None:
    entry = {"pool": "224.0.0.0/30,192.0.2.1", "subnet": "0.0.0.0/0", "exclude": ["224.0.0.0/4"]}
    assert accepted({"remote": {"v4pool": entry}}).warnings == ()


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"bad key!!": "x"}}, "serviceSelector: bad key!! cannot be the key of a label"),
        ({"matchLabels": {"tier": "a b"}}, "serviceSelector: a b cannot be the value of a label"),
        (
            {"matchExpressions": [{"key": "a/b/c", "operator": "DoesNotExist"}]},
            "serviceSelector: a/b/c cannot be the key of a label",
        ),
    ],
)
def test_a_selector_of_labels_that_cannot_exist_is_refused(selector: dict[str, Any], text: str) -> None:
    answer = refused({**LOCAL, "serviceSelector": selector})
    assert (answer.reason, answer.text) == ("InvalidSpec", text)


def test_a_later_item_loses_addresses_of_an_earlier_one_with_a_warning() -> None:
    found = accepted({"local": {"v4pools": [V4 | {"pool": "192.0.2.4-192.0.2.6"}, V4 | {"pool": "192.0.2.0/29"}]}})
    assert listed(found.group) == [f"192.0.2.{last}" for last in (4, 5, 6, 0, 1, 2, 3, 7)]
    assert found.warnings == ("v4pools[1]: 192.0.2.0/29 covers addresses of an earlier item and loses them",)


def test_an_address_that_an_earlier_item_excludes_is_not_given_by_a_later_one() -> None:
    first = V4 | {"pool": "192.0.2.1-192.0.2.2", "exclude": ["192.0.2.2"]}
    made = group({"local": {"v4pools": [first, V4 | {"pool": "192.0.2.2-192.0.2.3"}]}})
    assert listed(made) == ["192.0.2.1", "192.0.2.3"]


pools = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 10)).map(lambda made: f"192.0.2.{made[0]}-192.0.2.{sum(made)}"),
    min_size=1,
    max_size=4,
).map(",".join)


@given(st.lists(pools, min_size=1, max_size=3), st.lists(pools, max_size=3), st.booleans())
def test_exclusions_never_enlarge_a_pool_and_entries_never_share(
    texts: list[str], excludes: list[str], first_last: bool
) -> None:
    more = {"exclude": excludes, "excludeFirstLast": first_last}
    plain = group({"remote": {"v4pools": [V4 | {"pool": text} for text in texts]}})
    found = parse_group(
        stored({"remote": {"v4pools": [V4 | {"pool": text} | more for text in texts]}}), install_namespace=INSTALL
    )
    entries = found.group.entries if isinstance(found, Accepted) else ()
    for entry, whole in zip(entries, plain.entries, strict=False):
        assert overlap(entry.intervals, whole.intervals) == overlap(entry.intervals, entry.intervals)
        assert entry.covered == whole.covered
        assert entry.excluded == subtract(entry.covered, entry.intervals)
        assert size((*entry.intervals, *entry.excluded)) == whole.size
    every = [interval for entry in entries for interval in entry.intervals]
    assert size(every) == sum(interval.size for interval in every)


# sources


def test_local_and_netbox_together_mean_local_with_a_warning() -> None:
    found = accepted({**v4(exclude=["192.0.2.255"]), "netbox": NETBOX})
    assert (found.group.source, found.group.netbox) == ("cluster", None)
    assert found.warnings == ("local and netbox are both given: local is used",)


@pytest.mark.parametrize(
    "spec",
    [{}, None, {**LOCAL, "remote": {"v4pool": V4}}, {**LOCAL, "netbox": NETBOX, "external": EXTERNAL}],
    ids=["none", "no spec", "local and remote", "three"],
)
def test_any_other_number_of_sources_than_one_is_an_invalid_spec(spec: Any) -> None:
    assert refused(spec) == Refusal("InvalidSpec", "give exactly one of local, remote, netbox, external")


@pytest.mark.parametrize(
    ("spec", "announce", "off_subnet"),
    [
        ({"local": {"v4pool": V4, "offSubnet": "Dummy"}}, "local", "Dummy"),
        (LOCAL, "local", "Withhold"),
        ({"remote": {"v4pool": V4}}, "remote", "Withhold"),
        ({"netbox": NETBOX}, "remote", "Withhold"),
        ({"netbox": {**NETBOX, "announce": "local", "offSubnet": "Dummy"}}, "local", "Dummy"),
        ({"external": EXTERNAL}, "local", "Withhold"),
    ],
)
def test_how_a_source_is_announced(spec: Any, announce: str, off_subnet: str) -> None:
    made = group(spec)
    assert (made.announce, made.off_subnet, made.pool_type) == (announce, off_subnet, announce)


@pytest.mark.parametrize(
    "spec",
    [
        {"local": {"v4pool": V4, "offSubnet": "Nowhere"}},
        {"local": {"v4pool": V4, "multiPool": True, "balancePools": True}},
        {"netbox": {"url": "https://netbox.example.com"}},
        {"netbox": {**NETBOX, "url": "http://netbox.example.com"}},
        {"netbox": {**NETBOX, "mode": "guess"}},
        {"netbox": {**NETBOX, "announce": "both"}},
        {"netbox": {**NETBOX, "aggregation": "wide"}},
        {"external": {"provider": "acme"}},
        {"external": {"announce": "local"}},
        {**LOCAL, "priority": 0},
        {**LOCAL, "priority": 65536},
        {**LOCAL, "quotaPerNamespace": 1_000_001},
        {**LOCAL, "reuseDelay": "10"},
        {**LOCAL, "reuseDelay": "169h"},
        {**LOCAL, "namespaces": [f"n{number}" for number in range(1025)]},
        {**LOCAL, "namespaceSelector": {}},
        {**LOCAL, "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
        {**LOCAL, "namespaces": ["a"], "namespaceSelector": SELECTOR, "enforceNamespaces": True},
        {"remote": {"v4pools": [V4] * 257}},
        {"remote": {"v4pool": {"pool": "192.0.2.1"}}},
        {"remote": {"v4pool": {**V4, "subnet": "2001:db8::/64"}}},
        {"remote": {"v4pool": {**V4, "exclude": ["2001:db8::1"]}}},
    ],
)
def test_what_admission_would_refuse_is_an_invalid_spec_when_it_is_stored(spec: Any) -> None:
    answer = refused(spec)
    assert answer.reason == "InvalidSpec"
    assert answer.text.isprintable()


def test_addresses_from_elsewhere_stand_on_the_dummy_interface_as_hosts_unless_aggregated() -> None:
    four, six = IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")
    plain, aggregated = group({"netbox": NETBOX}), group({"external": {**EXTERNAL, "aggregation": "/24"}})
    assert [plain.prefix_length(four), plain.prefix_length(six)] == [32, 128]
    assert [aggregated.prefix_length(four), aggregated.prefix_length(six)] == [24, 24]


# namespaces and selection


def test_a_fence_without_namespaces_and_a_default_for_nobody_are_ignored_with_a_warning() -> None:
    found = accepted({**v4(exclude=["192.0.2.255"]), "enforceNamespaces": True, "namespaceDefault": True})
    assert (found.group.enforce_namespaces, found.group.namespace_default) == (False, False)
    assert len(found.warnings) == 2


def test_namespaces_are_sorted_and_each_is_there_once() -> None:
    assert group({**LOCAL, "namespaces": ["b", "a", "b"]}).namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("name", "more", "automatic"),
    [
        ("pool", {}, False),
        ("default", {}, True),
        ("pool", {"namespaces": ["a"]}, True),
        ("pool", {"namespaceSelector": SELECTOR}, True),
        ("pool", {"serviceSelector": SELECTOR}, True),
        ("default", {"autoAssign": False}, False),
        ("pool", {"autoAssign": True}, True),
    ],
)
def test_a_group_is_chosen_automatically_when_it_says_so_or_was_made_for_somebody(
    name: str, more: Any, automatic: bool
) -> None:
    assert group({**LOCAL, **more}, name=name).auto_assign is automatic


def test_a_group_of_another_namespace_is_out_of_scope_unless_all_are_read() -> None:
    assert refused(LOCAL, namespace="elsewhere").reason == "OutOfScope"
    found = parse_group(stored(LOCAL, namespace="elsewhere"), install_namespace=INSTALL, scope="all")
    assert isinstance(found, Accepted)


def test_the_model_carries_what_orders_and_names_the_group() -> None:
    made = group({**LOCAL, "priority": 7, "drain": True, "quotaPerNamespace": 3, "reuseDelay": "1m30s"})
    assert (made.uid, made.created, made.namespace) == ("u1", "2026-01-01T00:00:00Z", INSTALL)
    assert (made.priority, made.drain, made.quota_per_namespace, made.reuse_delay) == (7, True, 3, 90.0)


# whatever is stored

noise = st.recursive(
    st.none() | st.text(max_size=20) | st.sampled_from(["192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::/64", "/24"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
texts = noise.filter(lambda made: isinstance(made, str))
entries = st.fixed_dictionaries({}, optional={"pool": texts, "subnet": texts, "aggregation": texts})
sources = st.fixed_dictionaries(
    {},
    optional={
        "v4pool": entries,
        "v6pools": st.lists(entries, max_size=2),
        "pool": texts,
        "subnet": texts,
        "offSubnet": texts,
        "multiPool": st.booleans(),
        "balancePools": st.booleans(),
    },
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "local": sources,
        "remote": sources,
        "netbox": st.fixed_dictionaries({}, optional={"url": texts, "mode": texts, "aggregation": texts}),
        "external": st.fixed_dictionaries({}, optional={"provider": texts, "announce": texts}),
        "namespaces": st.lists(texts, max_size=3),
        "reuseDelay": texts,
        "priority": st.integers(-1, 70000),
    },
)


@given(specs)
def test_no_stored_spec_makes_the_parser_raise_and_every_refusal_can_be_shown(spec: Any) -> None:
    found = parse_group(stored(spec), install_namespace=INSTALL)
    if isinstance(found, Refusal):
        assert found.text
        assert found.text.isprintable()
    else:
        assert all(warning.isprintable() for warning in found.warnings)


def test_a_spec_whose_lists_are_null_reads_like_one_without_them() -> None:
    nulls = msgspec.convert(
        {"namespaces": None, "remote": {"v4pools": None, "v6pools": None, "v4pool": {**V4, "exclude": None}}},
        ServiceGroupSpec,
    )
    found = parse_group(ServiceGroup(metadata=stored({}).metadata, spec=nulls), install_namespace=INSTALL)
    assert found == parse_group(stored({"remote": {"v4pool": V4}}), install_namespace=INSTALL)


@pytest.mark.parametrize(("text", "shown"), [("", '""'), (" ", '" "'), (" \t ", '" ? "')])
def test_a_pool_of_nothing_but_blanks_is_named_as_what_it_is(text: str, shown: str) -> None:
    told = f"{shown} holds no address: write for example 192.0.2.10-192.0.2.19 or 2001:db8::10"
    assert refused(v4(pool=text)) == Refusal("InvalidSpec", f"v4pool.pool: {told}")
    assert refused(v4(exclude=(text,))) == Refusal("InvalidSpec", f"v4pool.exclude[0]: {told}")


@pytest.mark.parametrize("text", ["192.0.2.10,", "192.0.2.10, ,192.0.2.12", " , "])
def test_a_comma_with_nothing_beside_it_is_named_as_what_it_is(text: str) -> None:
    assert refused(v4(pool=text)).text.endswith('"" is empty: remove the comma that has nothing beside it')
