# SPDX-License-Identifier: Apache-2.0
"""Certificate, key and client authority of the listener, read again when the files change.

New connections get the pair that was read last; a pair that cannot be used leaves the old one in force and is told, once per
change. Whether the client must show a certificate is the page's decision, since the kubelet, which asks for the probes, has
none: the handshake only asks for one, and refuses a false one.
"""

from __future__ import annotations

import logging
import os
import ssl
from typing import TYPE_CHECKING, Final, Never

from purelb.kube.failures import failure
from purelb.process.component import CannotStart

if TYPE_CHECKING:
    from pathlib import Path

    from purelb.kube.clock import Clock

log: Final = logging.getLogger(__name__)

LOOK_EVERY: Final = 10.0
FILE_MAX_BYTES: Final = 1024 * 1024

_Texts = tuple[bytes, bytes, bytes | None]


class Certificates:
    """The files of one listener."""

    def __init__(self, *, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Raises `CannotStart` when they cannot be used."""
        self._paths = (cert, key, client_ca)
        self._told: _Texts | str | None = None
        try:
            self._seen = self._read()
            self.context = context(self._seen)
        except (OSError, ValueError) as error:
            hint = "give PEM files that can be read, a certificate and its own key, the key without a password"
            raise CannotStart("tls", f"the certificate of the listener cannot be used: {_words(error)}", hint) from None

    def next(self) -> ssl.SSLContext:
        """The context of the next connection."""
        return self.context

    def look(self) -> None:
        """Take what the files hold now, if it differs and can be used."""
        found: _Texts | None = None
        try:
            found = self._read()
            if found == self._seen:
                self._told = None
                return
            self.context = context(found)
        except (OSError, ValueError) as error:
            if self._told != (found or str(error)):
                self._told = found or str(error)
                log.info(
                    "the new certificate of the listener cannot be used: the old one stays in force",
                    extra={"code": "tlsReloadFailed", **failure(_words(error), kind=type(error).__name__)},
                )
            return
        self._seen, self._told = found, None
        log.info("the certificate of the listener was read again", extra={"code": "tlsReloaded"})

    async def keep(self, clock: Clock) -> Never:
        """Look at the files until cancelled."""
        while True:
            await clock.until(clock.now() + LOOK_EVERY)
            self.look()

    def _read(self) -> _Texts:
        cert, key, client_ca = self._paths
        return _bytes(cert), _bytes(key), None if client_ca is None else _bytes(client_ca)


def context(texts: _Texts) -> ssl.SSLContext:
    """A server's context. Raises OSError (of which ssl's are) or ValueError."""
    cert, key, client_ca = texts
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads a pair from files only; this one has no name and is gone with its descriptor.
    descriptor = os.memfd_create("listener")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(cert.rstrip() + b"\n" + key)
        made.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    finally:
        os.close(descriptor)
    if client_ca is not None:
        text = client_ca.decode("ascii")
        if "BEGIN CERTIFICATE" not in text:
            raise ValueError("the client authority holds no certificate")
        made.load_verify_locations(cadata=text)
        made.verify_mode = ssl.CERT_OPTIONAL
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is there to type a password")


def _bytes(path: Path) -> bytes:
    # Not blocking: a FIFO would hold up the whole loop until somebody writes to it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        data = file.read(FILE_MAX_BYTES + 1)
    if len(data) > FILE_MAX_BYTES:
        raise ValueError(f"{path} is larger than {FILE_MAX_BYTES} bytes")
    return data


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or 'not a pair of certificate and key'}".replace("_", " ").lower()
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
