# SPDX-License-Identifier: Apache-2.0
"""What an API server says of the requests that it answered: all of them, and the writes that a load balancer made.

Read from its own metrics, which count the answers to everybody. Not among the writes are those that the benchmark makes itself (Services
made and deleted, EndpointSlices), those by which the server keeps its own house, and leases, which are written by the clock and not
for a Service. One whose API server does not tell its metrics is not compared in this.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from purelb.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from purelb.kube.client import ApiClient

COUNTER: Final = "apiserver_request_total"
WRITING: Final = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
NOT_FOR_SERVICES: Final = frozenset(
    {"leases", "endpointslices", "ipaddresses", "flowschemas", "prioritylevelconfigurations", "tokenreviews"}
)
MADE_HERE: Final = frozenset({("services", "POST"), ("services", "DELETE")})
ASKED_EVERY_S: Final = 1.0
QUIET_ASKS: Final = 3
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


async def answered(client: ApiClient) -> float | None:
    """How many requests the API server has answered so far; None where it does not tell."""
    return counted(await _metrics(client))


async def written(client: ApiClient) -> float | None:
    """How many writes of others than the benchmark the API server has answered so far; None where it does not tell."""
    return writes(await _metrics(client))


async def settled(client: ApiClient, *, within_s: float) -> float | None:
    """The same, once it stands still or that time is over."""
    deadline = time.perf_counter() + within_s
    last, same = await written(client), 0
    while last is not None and same < QUIET_ASKS and time.perf_counter() < deadline:
        await asyncio.sleep(ASKED_EVERY_S)
        now = await written(client)
        last, same = now, same + 1 if now == last else 0
    return last


def counted(text: str) -> float | None:
    """The sum of the API server's counter of requests; None where there is none."""
    found = [value for _, value in _counters(text)]
    return sum(found) if found else None


def writes(text: str) -> float | None:
    """The part of it that is writes for Services, whoever made them; None where there is no such counter."""
    found = list(_counters(text))
    return sum(value for labels, value in found if _is_for_services(labels)) if found else None


def _is_for_services(labels: Mapping[str, str]) -> bool:
    resource, verb = labels.get("resource", ""), labels.get("verb", "")
    own = (resource, verb) in MADE_HERE and not labels.get("subresource")
    return verb in WRITING and resource not in NOT_FOR_SERVICES and not own


def _counters(text: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for line in text.splitlines():
        if line.startswith(f"{COUNTER}{{"):
            labels, _, value = line.rpartition(" ")
            yield dict(_LABEL.findall(labels)), float(value)


async def _metrics(client: ApiClient) -> str:
    try:
        return bytes((await client.raw("GET", "/metrics")).body).decode()
    except KubeError:
        return ""
