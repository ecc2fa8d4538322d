# SPDX-License-Identifier: Apache-2.0
"""Whole sandboxes of other shapes than the usual one: PureLB at work in several subnets, with one family, over one interface."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.annotations import DRAIN, MULTI_POOL
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.resources import NODES, SERVICES
from purelb.sandbox.cluster.kubelet import put
from purelb.sandbox.cluster.objects import service_group
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.rig.cuts import Cut
from tests.sandbox.cluster.whole import bring_up, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.sandbox.cluster.reach import Sandbox
    from purelb.sandbox.cluster.state import StateDirectory

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
# Longer than an agent needs to act on what it heard; what it does wrong is seen by then.
WATCHED_S = 1.5
# Enough for a machine on which nine others work; nothing here takes a tenth of it by itself.
soon = partial(until, limit_s=40.0)
FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode())"


def client(state: StateDirectory) -> ApiClient:
    return ApiClient(admin_access(state.kubeconfig.read_bytes()), user_agent="test", clock=SystemClock())


def make_service(state: StateDirectory, sandbox: Sandbox, *, notes: Mapping[str, str] = {}, **spec: Any) -> None:
    async def make() -> None:
        async with client(state) as api:
            await put(api, SERVICE_GROUPS, service_group(sandbox.subnets()))
            ports = [{"name": "http", "port": 80, "targetPort": 8080}]
            body = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web", "namespace": "default", "annotations": dict(notes)},
                "spec": {"type": "LoadBalancer", "selector": {"app": "echo"}, "ports": ports, **spec},
            }
            await api.create(SERVICES, body, namespace="default")

    asyncio.run(make())


def drain(state: StateDirectory, node: str, *, wanted: bool) -> None:
    async def annotate() -> None:
        async with client(state) as api:
            note = {"metadata": {"annotations": {DRAIN: "true" if wanted else None}}}
            await api.patch(NODES, node, note, kind=PatchType.MERGE)

    asyncio.run(annotate())


def addresses(sandbox: Sandbox) -> list[str]:
    found: list[str] = sandbox.status()["services"][0]["addresses"]
    return found


def held(sandbox: Sandbox) -> dict[str, list[str]]:
    """The nodes whose kernels have each address."""
    return {address: [one["node"] for one in who] for address, who in sandbox.holders()["now"].items()}


def everywhere(sandbox: Sandbox, count: int) -> bool:
    """Whether the Service has so many addresses and each is on one node."""
    now = held(sandbox)
    given = addresses(sandbox)
    return len(given) == count and all(len(now.get(address, ())) == 1 for address in given)


def answer(sandbox: Sandbox, address: str) -> str:
    """The pod whose page the client gets, empty for nobody's."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    with sandbox.entrance("client") as entrance:
        argv = entrance.argv([sys.executable, "-c", FETCH, url])
        got = subprocess.run(argv, pass_fds=entrance.descriptors, capture_output=True, text=True, check=False)
    return str(json.loads(got.stdout)["pod"]) if got.returncode == 0 else ""


def test_an_address_is_held_by_a_node_of_its_subnet_or_by_nobody_and_answers_through_the_router(
    state: StateDirectory,
) -> None:
    sandbox = bring_up(state, nodes=3, subnets=2)
    make_service(state, sandbox, notes={MULTI_POOL: "true"}, ipFamilyPolicy="RequireDualStack")
    soon(lambda: everywhere(sandbox, 4), what="an address of each subnet and family is on one node")
    home = {address: "172.30.2." in address or "fd00:30:2:" in address for address in addresses(sandbox)}
    assert sorted(home.values()) == [False, False, True, True]
    second = [address for address, in_second in home.items() if in_second]
    assert {held(sandbox)[address][0] for address in second} == {"n2"}, "the only node there"
    assert {held(sandbox)[address][0] for address in home if address not in second} <= {"n1", "n3"}
    for address in home:
        soon(lambda address=address: answer(sandbox, address), what=f"{address} answers")  # type: ignore[misc]

    since = time.monotonic()
    drain(state, "n2", wanted=True)
    soon(lambda: not any(held(sandbox).get(address) for address in second), what="n2 has given them up")
    sandbox.order(Cut(node="n1", away="lan", carrier="down"))  # and who is left has to look at all of them
    soon(
        lambda: all(held(sandbox).get(one) == ["n3"] for one in home if one not in second),
        what="n3 has the rest",
    )
    time.sleep(WATCHED_S)
    moves = sandbox.holders(since=since)["history"]
    assert not [move for move in moves if move["address"] in second and move["gained"]], "nobody else took them"
    drain(state, "n2", wanted=False)
    soon(lambda: all(held(sandbox).get(address) == ["n2"] for address in second), what="n2 has them again")


def test_a_cluster_of_ipv6_gives_and_announces_and_answers_ipv6(state: StateDirectory) -> None:
    sandbox = bring_up(state, nodes=2, family="ipv6")
    make_service(state, sandbox, ipFamilyPolicy="PreferDualStack")
    soon(lambda: everywhere(sandbox, 1), what="it has an address, on one node")
    (address,) = addresses(sandbox)
    assert address.startswith("fd00:30:1::2")
    soon(lambda: answer(sandbox, address), what=f"{address} answers")
    assert [one for node in sandbox.status()["nodes"] for one in node["addresses"]] == ["fd00:30:1::1", "fd00:30:1::2"]


def test_with_two_interfaces_every_node_may_hold_addresses_of_both_its_subnets(state: StateDirectory) -> None:
    sandbox = bring_up(state, nodes=2, subnets=2, nics=2, single_nic=True, family="ipv4")
    make_service(state, sandbox, notes={MULTI_POOL: "true"})
    soon(lambda: everywhere(sandbox, 2), what="an address of each subnet is on one node")
    drain(state, "n1", wanted=True)
    soon(lambda: set(map(tuple, held(sandbox).values())) == {("n2",)}, what="n2 holds both")
    places = {one["interface"] for who in sandbox.holders()["now"].values() for one in who}
    assert places == {"eth0", "eth1"}
    for address in addresses(sandbox):
        soon(lambda address=address: answer(sandbox, address), what=f"{address} answers")  # type: ignore[misc]
