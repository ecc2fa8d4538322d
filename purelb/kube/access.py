# SPDX-License-Identifier: Apache-2.0
"""The way to an API server: which one, and with which credentials.

In a cluster that is three files and two variables, and we read them ourselves: a library for it would cost every node agent
36 MiB. A kubeconfig is read by `kubeconfig`, through a library that is imported only then.

Not promised: a kubeconfig whose cluster moves to another address is followed only by a new process.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from purelb.kube.credentials import (
    Credential,
    Credentials,
    FixedCredentials,
    KubeconfigCredentials,
    ServiceAccountCredentials,
    Tls,
    bearer,
    ssl_context,
)
from purelb.kube.errors import AccessError
from purelb.kube.kubeconfig import load, server_url
from purelb.kube.metrics import NO_SINK, Sink

__all__ = [
    "ClusterAccess",
    "Credential",
    "Credentials",
    "FixedCredentials",
    "KubeconfigCredentials",
    "ServiceAccountCredentials",
    "Tls",
    "fixed_access",
    "load_access",
    "ssl_context",
]

log = logging.getLogger(__name__)

SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterAccess(Struct, frozen=True, kw_only=True):
    """`server` has no trailing slash and may have a path prefix. `namespace` is `""` when nobody named one."""

    server: str
    namespace: str = ""
    tls: Tls = Tls()
    proxy: str | None = None
    credentials: Credentials
    origin: Literal["in-cluster", "kubeconfig", "fixed"]

    def __repr__(self) -> str:
        return f"ClusterAccess(server={self.server!r}, namespace={self.namespace!r}, origin={self.origin!r})"


def fixed_access(
    server: str, *, token: str | None = None, tls: Tls | None = None, namespace: str = ""
) -> ClusterAccess:
    """Access to a server that is known beforehand; `tls` is needed for `https`."""
    chosen = tls or Tls()
    context = ssl_context(chosen) if server.startswith("https:") else None
    credential = Credential(bearer(token) if token else None, context)
    return ClusterAccess(
        server=server.rstrip("/"),
        namespace=namespace,
        tls=chosen,
        credentials=FixedCredentials(credential),
        origin="fixed",
    )


async def load_access(
    *,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    prefer: Literal["in-cluster", "kubeconfig"] = "in-cluster",
    service_account_dir: Path = SERVICE_ACCOUNT_DIR,
    sink: Sink = NO_SINK,
) -> ClusterAccess:
    """Find a way to an API server: an explicit kubeconfig, the Pod's service account, $KUBECONFIG, ~/.kube/config.

    `prefer="kubeconfig"` asks the service account last. A place that was named and cannot be used ends the search. Raises
    `AccessError`, which lists every place that was tried.
    """
    if kubeconfig is not None:
        if why := _why_not(str(kubeconfig)):
            raise AccessError(f"kubeconfig {str(kubeconfig)!r} {why}: name a file that can be read")
        return await _kubeconfig_access(str(kubeconfig), context, sink)
    tried: list[str] = []
    if prefer == "in-cluster" and (found := _in_cluster(service_account_dir, sink, tried)):
        return found
    if paths := os.environ.get("KUBECONFIG", ""):
        # Whoever set it means these files. To go on to the next place could be to act on another cluster.
        names = [path for path in paths.split(":") if path]
        wrong = [f"{path} {why}" for path in names if (why := _why_not(path))]
        if len(wrong) < len(names):
            return await _kubeconfig_access(paths, context, sink)
        before = f" (tried before: {'; '.join(tried)})" if tried else ""
        told = f"$KUBECONFIG: {', '.join(wrong)}" if wrong else f"$KUBECONFIG ({paths}) names no file"
        raise AccessError(f"{told}: name a file that can be read, or unset it{before}")
    tried.append("$KUBECONFIG is not set")
    at_home = _at_home()
    if not (why := _why_not(at_home)):
        return await _kubeconfig_access(at_home, context, sink)
    tried.append(f"{at_home} {why}")
    if prefer == "kubeconfig" and (found := _in_cluster(service_account_dir, sink, tried)):
        return found
    raise AccessError(f"no API server is configured; tried: {'; '.join(tried)}")


def _in_cluster(directory: Path, sink: Sink, tried: list[str]) -> ClusterAccess | None:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        tried.append("in-cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")
        return None
    if not os.access(directory / "token", os.R_OK):
        tried.append(f"in-cluster: {directory / 'token'} is not readable")
        return None
    credentials = ServiceAccountCredentials(directory, sink=sink)
    try:
        namespace = (directory / "namespace").read_text().strip()
    except (OSError, UnicodeError):
        namespace = ""  # optional: a component that needs one has a setting for it
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        server = server_url(server)
    except ValueError:
        both = f"KUBERNETES_SERVICE_HOST {host!r} and KUBERNETES_SERVICE_PORT {port!r}"
        raise AccessError(f"{both} are no address and port: set them as a Pod has them") from None
    return ClusterAccess(
        server=server,
        namespace=namespace,
        tls=Tls(ca_pem=credentials.ca_pem),
        credentials=credentials,
        origin="in-cluster",
    )


async def _kubeconfig_access(paths: str, context: str | None, sink: Sink) -> ClusterAccess:
    loaded = await load(paths, context)
    if not loaded.tls.verify:
        log.info(
            "the certificate of the API server is not verified, as the kubeconfig asks",
            extra={"code": "tlsNotVerified", "server": loaded.server},
        )

    last, credential = loaded, loaded.credential()

    async def again() -> Credential:
        nonlocal last, credential
        fresh = await load(paths, context)
        if fresh != last:
            last, credential = fresh, fresh.credential()
        return credential

    return ClusterAccess(
        server=loaded.server,
        namespace=loaded.namespace,
        tls=loaded.tls,
        proxy=loaded.proxy,
        credentials=KubeconfigCredentials(credential, again, sink=sink),
        origin="kubeconfig",
    )


def _at_home() -> str:
    path = Path("~/.kube/config")
    try:
        return str(path.expanduser())
    except RuntimeError:  # a user without a name, and nobody has said where home is
        return str(path)


def _why_not(path: str) -> str:
    """What keeps a kubeconfig from being read, after its name; empty for a file that is there."""
    try:
        mode = Path(path).expanduser().stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except (OSError, RuntimeError, ValueError) as error:  # no right, too long, a home that nobody has, a zero byte
        return f"cannot be looked at ({getattr(error, 'strerror', None) or str(error).rstrip('.')})"
    return "" if stat.S_ISREG(mode) else "is no file"
