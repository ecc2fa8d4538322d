# SPDX-License-Identifier: Apache-2.0
"""What a request shows and trusts, and how that is renewed while the process runs.

A credential that cannot be read again leaves the old one in force: a full disk must not log anybody out. The token of a
cluster is read again by the request that finds the last read a minute old, and at once when the server refused it. A
kubeconfig is loaded again only after a refusal, never on a timer, by one request for all that were refused; when that one is
cancelled, the next takes over. No token, key or password appears in a `repr`, a log line or an exception.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import Struct

from purelb.kube.errors import AccessError
from purelb.kube.failures import failure
from purelb.kube.metrics import ACCESS_RELOADS, NO_SINK, Sink
from purelb.kube.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

TOKEN_AGE_MAX: Final = 60.0
FORCED_READ_EVERY: Final = 1.0
RELOAD_EVERY: Final = 5.0
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

    authorization: Secret | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Credential(authorization={self.authorization}, tls={self.tls is not None})"


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


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """A client context. Raises `ssl.SSLError` or `ValueError` for what is not PEM."""
    ca = None if tls.ca_pem is None else tls.ca_pem.decode("ascii", "ignore")  # between certificates people write names
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
            context.load_cert_chain(path, password=_no_password)
    return context


def _no_password() -> str:
    """Without it OpenSSL would ask at the terminal, and everything else would wait."""
    raise ValueError("its key is encrypted, and nobody is asked for a password: give the key without one")


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
            raise AccessError(f"the service account in {directory} cannot be used: {words(error)}") from None
        self._credential = Credential(token, context)
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
            if authorization != token:
                authorization = token
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
                extra={
                    "code": "accessReloadFailed",
                    "kind": kind,
                    **failure(words(error), kind=type(error).__name__),
                },
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
                    extra={"code": "accessReloadFailed", "kind": "token", **failure(error)},
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


def bearer(token: str) -> Secret:
    """The header that carries a token."""
    return Secret(f"Bearer {token}")


def subject(credential: Credential) -> str | None:
    """Whom the token of a credential says it is of, unverified, for people. None where there is none that can be read."""
    if credential.authorization is None:
        return None
    parts = credential.authorization.reveal().removeprefix("Bearer ").split(".")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (IndexError, ValueError):
        return None
    return claims.sub[:256] or None


class _Claims(Struct):
    sub: str = ""


def _token_in(path: Path) -> Secret:
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} is empty")
    return bearer(token)


def _fingerprint(path: Path) -> tuple[int, int, int]:
    seen = path.stat()
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def words(error: Exception) -> str:
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
