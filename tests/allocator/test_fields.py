# SPDX-License-Identifier: Apache-2.0
"""No field of a ServiceGroup is ignored: each one, set by itself, changes what happens, or the group is refused and says why.

A new field has to be given a row, or the first test fails. What agents make of the three fields that concern them alone
(`aggregation`, `offSubnet`, `skipIPv6DAD`) is tested with the agent; here is what both read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.allocator.groups import Groups
from purelb.api.kinds import (
    ExternalSource,
    LocalPools,
    NetBoxSource,
    PoolEntry,
    RemotePools,
    ServiceGroup,
    ServiceGroupSpec,
)
from purelb.kube.model import LabelSelector, ObjectMeta
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, service, v4, v6

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ONE, TWO = v4("192.0.2.10-192.0.2.11"), v4("198.51.100.10", "198.51.100.0/24")
SIX = v6("2001:db8::1")
GOLD = LabelSelector(match_labels={"tier": "gold"})


def made(
    name: str = "default", *, local: Mapping[str, Any] | None = None, created: int = 1, **spec: Any
) -> ServiceGroup:
    """A group whose spec is exactly this; a local one with one entry when nothing is said."""
    if not spec.keys() & {"local", "remote", "netbox", "external"}:
        spec["local"] = LocalPools(**{"v4pool": ONE, **(local or {})})
    meta = ObjectMeta(name=name, namespace=INSTALL, uid=name, creation_timestamp=f"2026-01-0{created}T00:00:00Z")
    return ServiceGroup(metadata=meta, spec=ServiceGroupSpec(**spec))


def gets(*groups: ServiceGroup, **asked: Any) -> object:
    """What a Service gets, or the reason."""
    desk = Desk(*groups)
    desk.live("192.0.2.0/24", "198.51.100.0/24")
    desk.labels["shop"] = {"tier": "gold"}
    wanted = service(**asked)
    refusal = desk.ask(wanted)
    return desk.held(wanted) or (refusal.reason if refusal is not None else None)


def read(*groups: ServiceGroup) -> object:
    """What agents read of the group."""
    group = Groups(groups, install_namespace=INSTALL).accepted["default"]
    lengths = tuple(entry.prefix_length for entry in group.entries)
    return group.announce, group.off_subnet, group.skip_ipv6_dad, lengths


def second(**spec: Any) -> object:
    """What the second of two Services of one namespace gets, after the first was deleted or not."""
    desk = Desk(made(**spec))
    desk.get(service("first"))
    return desk.get(service("second"))


def after_release(**spec: Any) -> object:
    desk = Desk(made(**spec))
    desk.get(service("first"))
    desk.gone(service("first"))
    return desk.get(service("second"))


def standing(**spec: Any) -> str:
    return Groups([made(**spec)], install_namespace=INSTALL).standings[INSTALL, "default"].text


NAMED = {"annotations": {"purelb.io/service-group": "default"}}
DUAL = {"families": ("IPv4", "IPv6")}
ROWS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "spec.local": (lambda: read(made()), lambda: read(made(remote=RemotePools(v4pool=ONE)))),
    "spec.remote": (lambda: gets(made(remote=RemotePools(v4pool=ONE))), gets),
    "spec.netbox": (standing, lambda: standing(netbox=NetBoxSource(url="https://n", tenant="t"))),
    "spec.external": (standing, lambda: standing(external=ExternalSource(provider="p", announce="local"))),
    "spec.namespaces": (lambda: gets(made()), lambda: gets(made(namespaces=("bank",)))),
    "spec.namespace_selector": (
        lambda: gets(made("a")),
        lambda: gets(made("a", namespace_selector=GOLD)),
    ),
    "spec.enforce_namespaces": (
        lambda: gets(made(namespaces=("bank",)), **NAMED),
        lambda: gets(made(namespaces=("bank",), enforce_namespaces=True), **NAMED),
    ),
    "spec.namespace_default": (
        lambda: gets(made("a", namespaces=("shop",)), made("b", namespaces=("shop",), local={"v4pool": TWO})),
        lambda: gets(
            made("a", namespaces=("shop",)),
            made("b", namespaces=("shop",), namespace_default=True, local={"v4pool": TWO}),
        ),
    ),
    "spec.service_selector": (lambda: gets(made()), lambda: gets(made(service_selector=GOLD))),
    "spec.auto_assign": (lambda: gets(made()), lambda: gets(made(auto_assign=False))),
    "spec.priority": (
        lambda: gets(made(), made("b", auto_assign=True, local={"v4pool": TWO})),
        lambda: gets(made(), made("b", auto_assign=True, priority=1, local={"v4pool": TWO})),
    ),
    "spec.drain": (lambda: gets(made()), lambda: gets(made(drain=True))),
    "spec.quota_per_namespace": (second, lambda: second(quota_per_namespace=1)),
    "spec.reuse_delay": (after_release, lambda: after_release(reuse_delay="1m")),
    "pools.v4pool": (lambda: gets(made()), lambda: gets(made(local={"v4pool": TWO}))),
    "pools.v6pool": (lambda: gets(made(), **DUAL), lambda: gets(made(local={"v6pool": SIX}), **DUAL)),
    "pools.v4pools": (lambda: gets(made()), lambda: gets(made(local={"v4pools": (TWO,)}))),
    "pools.v6pools": (lambda: gets(made(), **DUAL), lambda: gets(made(local={"v6pools": (SIX,)}), **DUAL)),
    "pools.multi_pool": (
        lambda: gets(made(local={"v4pools": (ONE, TWO), "v4pool": None})),
        lambda: gets(made(local={"v4pools": (ONE, TWO), "v4pool": None, "multi_pool": True})),
    ),
    "pools.balance_pools": (
        lambda: second(local={"v4pools": (ONE, TWO), "v4pool": None}),
        lambda: second(local={"v4pools": (ONE, TWO), "v4pool": None, "balance_pools": True}),
    ),
    "pools.skip_ipv6_dad": (lambda: read(made()), lambda: read(made(local={"skip_ipv6_dad": True}))),
    "pools.off_subnet": (lambda: read(made()), lambda: read(made(local={"off_subnet": "Dummy"}))),
    "pools.pool": (
        lambda: gets(made(local={"v4pool": None, "pool": "192.0.2.7", "subnet": "192.0.2.0/24"})),
        lambda: gets(made(local={"v4pool": None, "pool": "192.0.2.8", "subnet": "192.0.2.0/24"})),
    ),
    "pools.subnet": (
        lambda: read(made(local={"v4pool": None, "pool": "192.0.2.7", "subnet": "192.0.2.0/24"})),
        lambda: read(made(local={"v4pool": None, "pool": "192.0.2.7", "subnet": "192.0.2.0/25"})),
    ),
    "pools.aggregation": (
        lambda: read(made(local={"v4pool": None, "pool": "192.0.2.7", "subnet": "192.0.2.0/24"})),
        lambda: read(made(local={"v4pool": None, "pool": "192.0.2.7", "subnet": "192.0.2.0/24", "aggregation": "/32"})),
    ),
    "entry.pool": (lambda: gets(made()), lambda: gets(made(local={"v4pool": v4("192.0.2.12")}))),
    "entry.subnet": (
        lambda: read(made()),
        lambda: read(made(local={"v4pool": v4("192.0.2.10-192.0.2.11", "192.0.2.0/28")})),
    ),
    "entry.aggregation": (
        lambda: read(made()),
        lambda: read(made(local={"v4pool": v4("192.0.2.10-192.0.2.11", aggregation="/32")})),
    ),
    "entry.exclude": (
        lambda: gets(made()),
        lambda: gets(made(local={"v4pool": v4("192.0.2.10-192.0.2.11", exclude=("192.0.2.10",))})),
    ),
    "entry.exclude_first_last": (
        lambda: gets(made(local={"v4pool": v4("192.0.2.0/24")})),
        lambda: gets(made(local={"v4pool": v4("192.0.2.0/24", exclude_first_last=True)})),
    ),
}


def names_of(kind: type[msgspec.Struct], prefix: str) -> set[str]:
    return {f"{prefix}.{field.name}" for field in msgspec.structs.fields(kind)}


def test_every_field_has_a_row() -> None:
    pools = names_of(LocalPools, "pools") | names_of(RemotePools, "pools")
    assert set(ROWS) == names_of(ServiceGroupSpec, "spec") | pools | names_of(PoolEntry, "entry")


@pytest.mark.parametrize("field", ROWS)
def test_a_field_changes_what_happens(field: str) -> None:
    without, with_it = ROWS[field]
    assert without() == without()
    assert without() != with_it()


@pytest.mark.parametrize("source", ["netbox", "external"])
def test_a_source_that_is_not_there_is_named(source: str) -> None:
    row = ROWS[f"spec.{source}"][1]
    assert row() == f"spec.{source} is not supported by this version: use spec.local or spec.remote"
