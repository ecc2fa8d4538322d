# SPDX-License-Identifier: Apache-2.0
"""The way to an API server: where it is, whom to trust, and what to show it.

In a cluster that is three files and two variables, and we read them ourselves: a library for it would cost every node agent
36 MiB. A kubeconfig goes through `kubernetes_asyncio`, imported in the one function that needs it.

Rules. A credential that cannot be read again leaves the old one in force: a full disk must not log anybody out. The token of
a cluster is read again by the request that finds the last read a minute old, and at once when the server refused it. A
kubeconfig is loaded again only after a refusal, never on a timer, by one request for all that were refused. No token, key or
password appears in a `repr`, a log line or an exception, which is why exceptions of the library are not chained here.

Not promised: a kubeconfig whose cluster moves to another address is followed only by a new process; a credential plugin that
hangs is given up after 30 s, but the library keeps its process to itself, so it is not killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct

from purelb.kube.errors import AccessError
from purelb.kube.metrics import ACCESS_RELOADS, NO_SINK, Sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

SERVICE_ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_AGE_MAX: Final = 60.0
FORCED_READ_EVERY: Final = 1.0
RELOAD_EVERY: Final = 5.0
LOAD_TIMEOUT: Final = 30.0  # an exec plugin may ask a person, but not for ever
LOG_EVERY: Final = 60.0


class Tls(Struct, frozen=True, kw_only=True):
    """`ca_pem` None: the system's authorities. `client_cert`: certificate and key, both PEM."""

    ca_pem: bytes | None = None
    client_cert: tuple[bytes, bytes] | None = None
    server_name: str | None = None
    verify: bool = True

    def __repr__(self) -> str:
        return (
            f"Tls(server_name={self.server_name!r}, verify={self.verify}, client_cert={self.client_cert is not None})"
        )


class Credential(Struct, frozen=True, eq=False):
    """What one request shows and trusts. Two of them are the same only if they are the same object."""

    authorization: str | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Credential(authorization={'set' if self.authorization else None}, tls={self.tls is not None})"


class Credentials(Protocol):
    def current(self, now: float) -> Credential:
        """For the next request. Never fails: the last good one stays in force."""
        ...

    async def renewed(self, rejected: Credential, now: float) -> Credential:
        """After the server answered 401: `rejected` itself when there is no other."""
        ...

    def retrusted(self, rejected: Credential, now: float) -> Credential:
        """After the server's certificate was not accepted: `rejected` itself when there is no other authority."""
        ...


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


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """A client context. Raises `ssl.SSLError` or `ValueError` for what is not PEM."""
    ca = None if tls.ca_pem is None else tls.ca_pem.decode("ascii")
    if ca is not None and "BEGIN CERTIFICATE" not in ca:
        raise ValueError("the certificate authority holds no certificate")  # nothing would mean: trust the system's
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # many cluster CAs lack the extensions that Python 3.13 demands
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.client_cert is not None:
        # OpenSSL reads certificate and key from files only; this one exists for the length of the call.
        with tempfile.TemporaryDirectory() as private:
            path = Path(private, "client.pem")
            path.write_bytes(tls.client_cert[0].rstrip() + b"\n" + tls.client_cert[1])
            context.load_cert_chain(path)
    return context


class FixedCredentials:
    """What never changes: tests, the sandbox."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def current(self, now: float) -> Credential:  # noqa: ARG002  as the protocol has it
        return self._credential

    async def renewed(self, rejected: Credential, now: float) -> Credential:  # noqa: ARG002  as the protocol has it
        return self._credential

    def retrusted(self, rejected: Credential, now: float) -> Credential:  # noqa: ARG002  as the protocol has it
        return self._credential


def fixed_access(
    server: str, *, token: str | None = None, tls: Tls | None = None, namespace: str = ""
) -> ClusterAccess:
    """Access to a server that is known beforehand; `tls` is needed for `https`."""
    chosen = tls or Tls()
    context = ssl_context(chosen) if server.startswith("https:") else None
    credential = Credential(f"Bearer {token}" if token else None, context)
    return ClusterAccess(
        server=server.rstrip("/"),
        namespace=namespace,
        tls=chosen,
        credentials=FixedCredentials(credential),
        origin="fixed",
    )


class ServiceAccountCredentials:
    """Token and CA of the Pod's ServiceAccount, as files that the kubelet replaces."""

    def __init__(self, directory: Path, *, sink: Sink = NO_SINK) -> None:
        """Raises `AccessError` when token or CA cannot be used."""
        self._token_path = directory / "token"
        self._ca_path = directory / "ca.crt"
        self._sink = sink
        try:
            token = _token_in(self._token_path)
            self._ca_seen = _fingerprint(self._ca_path)
            self.ca_pem = self._ca_path.read_bytes()
            context = ssl_context(Tls(ca_pem=self.ca_pem))
        except (OSError, ValueError) as error:
            raise AccessError(f"the service account in {directory} cannot be used: {_words(error)}") from None
        self._credential = Credential(f"Bearer {token}", context)
        self._read_at: float | None = None
        self._forced_at = -FORCED_READ_EVERY
        self._logged_at = -LOG_EVERY

    def current(self, now: float) -> Credential:
        if self._read_at is None:
            self._read_at = now
        elif now - self._read_at >= TOKEN_AGE_MAX:
            self._read(now)
        return self._credential

    async def renewed(self, rejected: Credential, now: float) -> Credential:
        return self.retrusted(rejected, now)

    def retrusted(self, rejected: Credential, now: float) -> Credential:
        if self._credential is rejected and now - self._forced_at >= FORCED_READ_EVERY:
            self._forced_at = now
            self._read(now)
        return self._credential

    def _read(self, now: float) -> None:
        self._read_at = now
        authorization, context = self._credential.authorization, self._credential.tls
        try:
            token = _token_in(self._token_path)
        except (OSError, ValueError) as error:
            self._failed("token", error, now)
        else:
            if authorization != f"Bearer {token}":
                authorization = f"Bearer {token}"
                self._sink.count(ACCESS_RELOADS, "token", "success")
        try:
            seen = _fingerprint(self._ca_path)
            if seen != self._ca_seen:
                pem = self._ca_path.read_bytes()
                context = ssl_context(Tls(ca_pem=pem))
                self.ca_pem, self._ca_seen = pem, seen
                self._sink.count(ACCESS_RELOADS, "ca", "success")
                log.info("the certificate authority of the cluster was replaced", extra={"code": "caReloaded"})
        except (OSError, ValueError) as error:
            self._failed("ca", error, now)
        if authorization != self._credential.authorization or context is not self._credential.tls:
            self._credential = Credential(authorization, context)

    def _failed(self, kind: str, error: Exception, now: float) -> None:
        self._sink.count(ACCESS_RELOADS, kind, "failure")
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            log.info(
                "a file of the service account cannot be read, the old content stays in force",
                extra={"code": "accessReloadFailed", "kind": kind, "error": _words(error)},
            )


class KubeconfigCredentials:
    """What a kubeconfig gave, and the means to ask it again (exec plugins, OIDC, token files)."""

    def __init__(
        self, credential: Credential, load: Callable[[], Awaitable[Credential]], *, sink: Sink = NO_SINK
    ) -> None:
        self._credential = credential
        self._load = load
        self._sink = sink
        self._loading = False
        self._loaded = 0
        self._started_at = -RELOAD_EVERY
        self._logged_at = -LOG_EVERY
        self._waiting: list[asyncio.Future[None]] = []

    def current(self, now: float) -> Credential:  # noqa: ARG002  as the protocol has it
        return self._credential

    async def renewed(self, rejected: Credential, now: float) -> Credential:
        loaded = self._loaded
        while self._credential is rejected and self._loaded == loaded:
            if self._loading:
                await self._turn()
            elif now - self._started_at >= RELOAD_EVERY:
                await self._reload(now)
            else:
                break
        return self._credential

    def retrusted(self, rejected: Credential, now: float) -> Credential:  # noqa: ARG002  as the protocol has it
        return self._credential

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        finally:
            self._waiting = [other for other in self._waiting if other is not turn]

    async def _reload(self, now: float) -> None:
        before, self._started_at, self._loading = self._started_at, now, True
        try:
            fresh = await self._load()
        except AccessError as error:
            self._loaded += 1
            self._sink.count(ACCESS_RELOADS, "token", "failure")
            if now - self._logged_at >= LOG_EVERY:
                self._logged_at = now
                log.info(
                    "the kubeconfig cannot be loaded again, the old credential stays in force",
                    extra={"code": "accessReloadFailed", "kind": "token", "error": str(error)},
                )
        except asyncio.CancelledError:
            self._started_at = before  # nothing was learned: one of those who wait takes over
            raise
        else:
            self._loaded += 1
            self._sink.count(ACCESS_RELOADS, "token", "success")
            self._credential = fresh
        finally:
            self._loading = False
            for turn in self._waiting:
                if not turn.done():
                    turn.set_result(None)


async def load_access(
    *,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    prefer: Literal["in-cluster", "kubeconfig"] = "in-cluster",
    service_account_dir: Path = SERVICE_ACCOUNT_DIR,
    sink: Sink = NO_SINK,
) -> ClusterAccess:
    """Find a way to an API server: an explicit kubeconfig, the Pod's service account, $KUBECONFIG, ~/.kube/config.

    `prefer="kubeconfig"` asks the service account last. Raises `AccessError`, which lists every place that was tried.
    """
    if kubeconfig is not None:
        if not _is_file(str(kubeconfig)):
            raise AccessError(f"kubeconfig {str(kubeconfig)!r} does not exist: name a file")
        return await _kubeconfig_access(str(kubeconfig), context, sink)
    tried: list[str] = []
    if prefer == "in-cluster" and (found := _in_cluster(service_account_dir, sink, tried)):
        return found
    for paths, where in ((os.environ.get("KUBECONFIG", ""), "$KUBECONFIG"), (str(Path.home() / ".kube/config"), "")):
        if any(map(_is_file, paths.split(":"))):
            return await _kubeconfig_access(paths, context, sink)
        tried.append(f"{where} {paths or 'is not set'}".strip())
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
    except OSError:
        namespace = ""  # optional: a component that needs one has a setting for it
    return ClusterAccess(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace,
        tls=Tls(ca_pem=credentials.ca_pem),
        credentials=credentials,
        origin="in-cluster",
    )


class _Loaded(Struct, frozen=True, kw_only=True):
    server: str
    namespace: str
    authorization: str | None
    tls: Tls
    proxy: str | None

    def __repr__(self) -> str:
        return f"_Loaded(server={self.server!r})"

    def credential(self) -> Credential:
        try:
            context = ssl_context(self.tls) if self.server.startswith("https:") else None
        except (OSError, ValueError) as error:
            raise AccessError(f"the certificates for {self.server} cannot be used: {_words(error)}") from None
        return Credential(self.authorization, context)


async def _kubeconfig_access(paths: str, context: str | None, sink: Sink) -> ClusterAccess:
    loaded = await _load_kubeconfig(paths, context)
    if not loaded.tls.verify:
        log.info(
            "the certificate of the API server is not verified, as the kubeconfig asks",
            extra={"code": "tlsNotVerified", "server": loaded.server},
        )

    last, credential = loaded, loaded.credential()

    async def again() -> Credential:
        nonlocal last, credential
        fresh = await _load_kubeconfig(paths, context)
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


async def _load_kubeconfig(paths: str, context: str | None) -> _Loaded:
    """Load once. Nothing of it stays: no file, no cached name of a file, no descriptor of ours."""
    import yaml
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException, kube_config

    into: Any = Configuration()
    with tempfile.TemporaryDirectory() as private:
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                loader = await kube_config.load_kube_config(
                    config_file=paths, context=context, client_configuration=into, temp_file_path=private
                )
            # The library writes its files after its last await, and nothing here gives up the loop: its cache of file
            # names, shared by all loads of the process, can be emptied without taking them from another load.
            chosen = (loader.current_context or {}).get("context") or {}
            certificate, key = _bytes_of(into.cert_file), _bytes_of(into.key_file)
            return _Loaded(
                server=str(into.host).rstrip("/"),
                namespace=str(chosen.get("namespace") or ""),
                authorization=into.api_key.get("BearerToken"),
                tls=Tls(
                    ca_pem=_bytes_of(into.ssl_ca_cert),
                    client_cert=(certificate, key) if certificate and key else None,
                    server_name=into.tls_server_name,
                    verify=bool(into.verify_ssl),
                ),
                proxy=_proxy(str(into.host), into.proxy),
            )
        except TimeoutError:
            raise AccessError(f"loading kubeconfig {paths!r} took longer than {LOAD_TIMEOUT:.0f} s") from None
        except ConfigException as error:
            raise AccessError(f"kubeconfig {paths!r} cannot be used: {_without_objects(str(error))}") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise AccessError(f"kubeconfig {paths!r} cannot be read: {_words(error)}") from None
        except (LookupError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
            # How that library reacts to a file whose shape is wrong.
            raise AccessError(f"kubeconfig {paths!r} has not the shape of one ({type(error).__name__})") from None
        finally:
            kube_config._temp_files.clear()  # noqa: SLF001  there is no other way to it


def _proxy(server: str, named: str | None) -> str | None:
    from urllib.parse import urlsplit
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    proxy = named
    if proxy is None:
        host = urlsplit(server).hostname or ""
        around = host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass_environment(host)
        proxy = None if around or not server.startswith("https:") else getproxies_environment().get("https")
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise ValueError("its proxy is neither http:// nor https://, and no other kind is supported")
    return proxy


def _is_file(path: str) -> bool:
    return bool(path) and Path(path).expanduser().is_file()


def _bytes_of(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _token_in(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} is empty")
    return token


def _fingerprint(path: Path) -> tuple[int, int, int]:
    seen = path.stat()
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _words(error: Exception) -> str:
    """What happened, without content: parsers quote what they could not parse."""
    match error:
        case ssl.SSLError():
            return f"not a usable certificate or key ({error.reason or 'unreadable'})"
        case OSError():
            return f"{error.strerror or type(error).__name__}: {error.filename}"
        case UnicodeError():
            return "it is not text"
        case ValueError():
            return str(error)
        case _:
            return type(error).__name__


def _without_objects(text: str) -> str:
    """The library names places by printing what stands there, tokens included."""
    return re.sub(r"\{.*", "{...}", text, flags=re.DOTALL)
