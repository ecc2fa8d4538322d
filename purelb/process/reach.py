# SPDX-License-Identifier: Apache-2.0
"""Which API server the settings of a process name.

`$KUBECONFIG` may hold a list and comes after the service account of a Pod, so what came from there is not an explicit file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from purelb.kube.access import ClusterAccess, load_access

if TYPE_CHECKING:
    from purelb.kube.metrics import Sink


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
