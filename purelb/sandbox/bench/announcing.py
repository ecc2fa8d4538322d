# SPDX-License-Identifier: Apache-2.0
"""The suite `announce`: one Service at a time on an idle cluster, from its creation to where a user meets it, and back.

`single`: to the status, to the interface, to the first frame that claims the address at the other end of the cable; and from its
deletion until the address is gone from the interface. `answered`: to the first HTTP answer of a client that begins to ask
when the status shows the address, through the real kube-proxy. It runs apart from the first, whose figures it would disturb: kube-proxy
works while the agent does. All of it on the real control plane; instants are of one clock.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from purelb.kube.errors import NotFound
from purelb.kube.resources import ENDPOINT_SLICES, SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.cable import far_end
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.overhearing import overhearing
from purelb.sandbox.bench.reaching import BACKEND_PORT, asking, backend, kube_proxy
from purelb.sandbox.bench.results import Budget, Row, row
from purelb.sandbox.bench.suites import NAMESPACE, NODE, NODE_ADDRESS, NODE_ADDRESS6

if TYPE_CHECKING:
    from pathlib import Path

    from purelb.sandbox.bench.observer import Observer
    from purelb.sandbox.bench.overhearing import Overheard
    from purelb.sandbox.bench.reaching import Asking
    from purelb.sandbox.bench.results import Unit
    from purelb.sandbox.bench.suites import Stage

SUITE: Final = "announce"
Family = Literal["IPv4", "IPv6"]
FAMILIES: Final[tuple[Family, ...]] = ("IPv4", "IPv6")
SEEN_WITHIN_S: Final = 10.0
ANSWERED_WITHIN_S: Final = 30.0
APART_S: Final = 0.1


class Seen(Struct, frozen=True, kw_only=True):
    """When one Service was where, in milliseconds: `status` since the POST was answered, `gone` since the DELETE was sent, else since the POST."""

    status: float
    interface: float
    frame: float
    gone: float


async def single(stage: Stage, *, trials: int) -> list[Row]:
    """One Service at a time with an agent, first of IPv4, then of IPv6."""
    rows: list[Row] = []
    with far_end(NODE_ADDRESS) as far:
        async with observing(stage.client, NAMESPACE, links=True) as seen, stage.allocator(), stage.agent():
            with overhearing(far) as heard:
                for family in FAMILIES:
                    found = [
                        await _followed(stage, seen, heard, f"single-{family.lower()}-{number}", family)
                        for number in range(trials)
                    ]
                    rows += _rows(family, found)
    return rows


def _rows(family: Family, found: list[Seen]) -> list[Row]:
    six = family == "IPv6"
    said = "IPv6: " if six else ""
    frame = "unsolicited neighbour advertisement" if six else "gratuitous ARP"

    def measured(case: str, values: list[float], *, budget: Budget | None = None, unit: Unit = "ms") -> Row:
        return row(suite=SUITE, case=f"{said}{case}", unit=unit, values=values, budget=budget)

    return [
        measured("POST answered to address in the status, with an agent", [each.status for each in found]),
        measured(
            "create to address on the interface",
            [each.interface for each in found],
            budget=None if six else Budget(of="p50", at_most=20.0),
        ),
        measured(f"create to the first {frame} on the wire", [each.frame for each in found]),
        measured("delete to address gone from the interface", [each.gone for each in found]),
    ]


async def _followed(stage: Stage, seen: Observer, heard: Overheard, name: str, family: Family) -> Seen:
    """Create one Service, see its address everywhere, delete it, see it gone."""
    asked = time.perf_counter()
    await stage.client.create(SERVICES, objects.service(name, lb_class=None, family=family), namespace=NAMESPACE)
    answered = time.perf_counter()
    await until(f"an address for {name}", lambda: seen.served_at(name) is not None, within_s=SEEN_WITHIN_S)
    address = seen.address(name) or ""
    await until(f"{address} on an interface", lambda: address in seen.addresses, within_s=SEEN_WITHIN_S)
    await until(f"{address} on the wire", lambda: address in heard.claims, within_s=SEEN_WITHIN_S)
    deleted = time.perf_counter()
    await stage.client.delete(SERVICES, name, namespace=NAMESPACE)
    await until(f"{address} gone from the interface", lambda: address in seen.gone, within_s=SEEN_WITHIN_S)
    await asyncio.sleep(
        APART_S
    )  # what it still says of an address is not taken for the next Service's, which may be given it
    return Seen(
        status=((seen.served_at(name) or 0.0) - answered) * 1000,
        interface=(seen.addresses.pop(address) - asked) * 1000,
        frame=(heard.claims.pop(address) - asked) * 1000,
        gone=(seen.gone.pop(address) - deleted) * 1000,
    )


async def answered(stage: Stage, *, proxy: Path | None, kubeconfig: str, trials: int) -> list[Row]:
    """One Service at a time, with a backend, kube-proxy (the binary `proxy`) and a client on the LAN."""
    if proxy is None:
        raise RuntimeError("the first HTTP answer needs --kube-proxy PATH, its binary; hack/bench gives it")
    rows: list[Row] = []
    with far_end(NODE_ADDRESS) as far:
        async with (
            observing(stage.client, NAMESPACE, links=True) as seen,
            backend(NODE, log=stage.logs / "backend.log"),
            kube_proxy(proxy, kubeconfig=kubeconfig, node=NODE, directory=stage.logs),
            asking(far) as prober,
            stage.allocator(),
            stage.agent(),
        ):
            for family in FAMILIES:
                said = "IPv6: " if family == "IPv6" else ""
                values = []
                for number in range(trials):
                    far.forget_neighbours()
                    values.append(await _asked(stage, seen, prober, f"answered-{family.lower()}-{number}", family))
                case = f"{said}create to the first HTTP answer, through kube-proxy"
                rows.append(row(suite=SUITE, case=case, unit="ms", values=values))
    return rows


async def _asked(stage: Stage, seen: Observer, prober: Asking, name: str, family: Family) -> float:
    """Create one Service with a backend, ask it until it answers, remove it; milliseconds from its POST to the answer."""
    own = NODE_ADDRESS6 if family == "IPv6" else NODE_ADDRESS
    piece = objects.endpoints(name, family=family, address=own, port=BACKEND_PORT, node=NODE)
    await stage.client.create(ENDPOINT_SLICES, piece, namespace=NAMESPACE)
    asked = time.monotonic()  # the prober's clock
    await stage.client.create(SERVICES, objects.service(name, lb_class=None, family=family), namespace=NAMESPACE)
    await until(f"an address for {name}", lambda: seen.served_at(name) is not None, within_s=SEEN_WITHIN_S)
    address = seen.address(name) or ""
    at = await prober.first_answer(name, address, 80, within_s=ANSWERED_WITHIN_S)
    await stage.client.delete(SERVICES, name, namespace=NAMESPACE)
    try:
        await stage.client.delete(ENDPOINT_SLICES, f"{name}-bench", namespace=NAMESPACE)
    except NotFound:
        pass  # the controllers were faster
    await until(f"{address} gone from the interface", lambda: address in seen.gone, within_s=SEEN_WITHIN_S)
    del seen.gone[address]
    await asyncio.sleep(APART_S)
    return (at - asked) * 1000
