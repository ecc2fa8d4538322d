# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.rig.proxy --node N --with nft|user`: the service proxy of one node.

It watches Services and EndpointSlices and makes the node serve them: with nftables in the kernel, or, where there is no `nft`, with a relay in this
process. The present state is rendered as a whole after each burst of changes, so nothing depends on the order of events. A table that could not be loaded
is tried again with the next change or after a second; the one before stays in force. What comes too early is not guessed: until both kinds are synced
nothing is loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
from typing import TYPE_CHECKING, Final, Protocol

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.informer import Informer
from purelb.kube.resources import ENDPOINT_SLICES, SERVICES
from purelb.sandbox.rig.proxy_rules import Frontend, frontends, ruleset, unserved
from purelb.sandbox.rig.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.kube.model import KubeObject

# One burst of events (a Service, its status, its slices) becomes one load; short beside the time a person or a probe notices.
SETTLE_S: Final = 0.01
RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class Serving(Protocol):
    async def serve(self, served: Sequence[Frontend]) -> bool:
        """Serve exactly these from now on; False if that failed and what was served before still is."""
        ...


class Nftables:
    """Loads the rendered tables in one transaction."""

    async def serve(self, served: Sequence[Frontend]) -> bool:
        nft = await asyncio.create_subprocess_exec(
            "nft", "-f", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, errors = await nft.communicate(ruleset(served).encode())
        if nft.returncode != 0:
            log.error("nft refused the rules: %s", errors.decode(errors="replace").strip()[:500])
        return nft.returncode == 0


class Bell:
    """A handler that only says: something changed."""

    def __init__(self) -> None:
        self._rung = asyncio.Queue[None](maxsize=1)

    def ring(self) -> None:
        if self._rung.empty():
            self._rung.put_nowait(None)

    async def wait(self) -> None:
        await self._rung.get()

    def added(self, obj: KubeObject, initial: bool) -> None:  # noqa: ARG002, FBT001  as the protocol has it
        self.ring()

    def updated(self, old: KubeObject, new: KubeObject) -> None:  # noqa: ARG002  as the protocol has it
        self.ring()

    def deleted(self, obj: KubeObject, final: bool) -> None:  # noqa: ARG002, FBT001  as the protocol has it
        self.ring()


async def run(node: str, serving: Serving) -> None:
    clock = SystemClock()
    async with ApiClient(await load_access(), user_agent="purelb-sandbox-proxy", clock=clock) as client:
        services, slices, bell = Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES), Bell()
        services.add_handler(bell)
        slices.add_handler(bell)
        async with asyncio.TaskGroup() as group:
            group.create_task(services.run(), name="proxy:services")
            group.create_task(slices.run(), name="proxy:slices")
            await services.wait_synced()
            await slices.wait_synced()
            loaded: tuple[Frontend, ...] | None = None
            complained: tuple[str, ...] = ()
            bell.ring()
            while True:
                await bell.wait()
                await asyncio.sleep(SETTLE_S)
                every = tuple(services.store.values())
                if (complaints := unserved(every)) != complained:
                    complained = complaints
                    for complaint in complaints:
                        log.warning("%s", complaint)
                wanted = frontends(every, slices.store.values(), node=node)
                if wanted == loaded:
                    continue
                if await serving.serve(wanted):
                    loaded = wanted
                    log.info("serving %d frontends", len(wanted))
                else:
                    await asyncio.sleep(RETRY_S)
                    bell.ring()


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", required=True)
    parser.add_argument("--with", dest="kind", choices=("nft", "user"), required=True)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.node, Nftables() if arguments.kind == "nft" else Relay()))


if __name__ == "__main__":
    main()
