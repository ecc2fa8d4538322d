# SPDX-License-Identifier: Apache-2.0
"""Which API server the settings of a process name, and a way there on which nothing is written.

`$KUBECONFIG` may hold a list and comes after the service account of a Pod, so what came from there is not an explicit file.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from purelb.kube.access import ClusterAccess, load_access
from purelb.kube.transport import AiohttpTransport, Transport
from purelb.process.readonly import ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from purelb.kube.metrics import Sink
    from purelb.process.dryrun import Plan


class Named(Protocol):
    """The settings that matter here."""

    @property
    def kubeconfig(self) -> str: ...

    @property
    def context(self) -> str: ...


async def reach(settings: Named, *, sink: Sink) -> ClusterAccess:
    """The way to the API server. Raises `AccessError`."""
    named = settings.kubeconfig
    explicit = Path(named) if named and named != os.environ.get("KUBECONFIG") else None
    return await load_access(kubeconfig=explicit, context=settings.context or None, sink=sink)


@asynccontextmanager
async def reading(
    settings: Named,
    access: ClusterAccess | None,
    transport: Transport | None,
    *,
    sink: Sink,
    plan: Plan,
    own: Collection[str] = (),
) -> AsyncIterator[tuple[ClusterAccess, Transport]]:
    """Access and a transport that only reads, over those given or those that the settings name; see `readonly`."""
    reached = access or await reach(settings, sink=sink)
    async with AsyncExitStack() as stack:
        inner = transport
        if inner is None:
            inner = await stack.enter_async_context(
                AiohttpTransport(reached.server, proxy=reached.proxy, server_name=reached.tls.server_name)
            )
        yield reached, ReadOnly(inner, plan=plan, own=own)
