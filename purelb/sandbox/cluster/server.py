# SPDX-License-Identifier: Apache-2.0
"""The embedded API server of one sandbox, and the ways in: the admin's kubeconfig, a token per program.

Keys live in memory that only the sandbox's processes see; what reaches the disk is the admin's kubeconfig, 0600, and it is worth nothing once the
sandbox has ended, because the next one makes a new authority.
"""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from purelb.kube.access import ClusterAccess, Tls, fixed_access
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.rig.topology import VERSIONS

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from purelb.sandbox.apiserver.faults import Faults
    from purelb.sandbox.cluster.programs import Program
    from purelb.sandbox.rig.topology import Topology

# What the API calls the versions of IP.
FAMILIES: Final[Mapping[int, Literal["IPv4", "IPv6"]]] = {4: "IPv4", 6: "IPv6"}


class Api:
    """A running API server. Made by `running`."""

    def __init__(self, core: ApiCore, pki: Pki) -> None:
        self._core = core
        self._pki = pki

    @property
    def faults(self) -> Faults:
        """What goes wrong at this server on order."""
        return self._core.faults

    @property
    def ca_pem(self) -> bytes:
        return self._pki.ca_pem

    def write_kubeconfig(self, path: Path, *, server: str) -> None:
        """The admin's, for people and for us."""
        self._pki.admin_kubeconfig(server, path)

    def token(self, program: Program, *, pod_uid: str) -> str:
        """A token of the program's ServiceAccount, bound to its pod and node."""
        return self._core.tokens.issue(
            namespace=program.namespace,
            account=program.account or "default",
            pod=program.pod,
            pod_uid=pod_uid,
            node=program.node,
        )

    def revoke(self, token: str) -> None:
        """From now on whoever shows it is answered 401."""
        self._core.tokens.revoke(token)


@asynccontextmanager
async def running(sockets: Sequence[socket.socket], keys: Path, *, topology: Topology) -> AsyncIterator[Api]:
    """Serve a fresh, empty cluster of the topology's families on `sockets`, with a new authority in the directory `keys`."""
    families = tuple(FAMILIES[version] for version in VERSIONS[topology.shape.family])
    core = ApiCore(rng=SystemRandom().random, epoch=datetime.now(UTC), families=families)
    pki = Pki(keys, names=("localhost", "127.0.0.1", "::1", str(topology.api), "kubernetes.default.svc"))
    async with serve(core, pki=pki, sockets=sockets):
        yield Api(core, pki)


def admin_access(kubeconfig: bytes, *, server: str = "") -> ClusterAccess:
    """The access that `write_kubeconfig` wrote down; `server` replaces where it leads. Reads our own form only."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    certificate, key = (base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key"))
    authority = base64.b64decode(cluster["certificate-authority-data"])
    return fixed_access(server or cluster["server"], tls=Tls(ca_pem=authority, client_cert=(certificate, key)))
