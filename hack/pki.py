# SPDX-License-Identifier: Apache-2.0
"""The certificates and keys of one short-lived control plane.

One authority signs servers and clients; every key is P-256, since RSA keys alone would take longer than the API server's start.
Private keys are written with mode 0600. Not promised: rotation, revocation, or use for anything but tests on this machine.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A machine whose clock is set back during a run still accepts the certificates; nobody keeps them for a week.
_BEFORE = dt.timedelta(hours=1)
_LIFETIME = dt.timedelta(days=7)


class Pair(NamedTuple):
    """Two files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("purelb-conformance-ca", ())
        self.certificate = directory / "ca.crt"
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
        ]
        signed = self._sign(self._name, self._key.public_key(), extensions)
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, *, sans: Iterable[str]) -> Pair:
        """A server certificate for these names and addresses."""
        return self._issue(name, name, (), ExtendedKeyUsageOID.SERVER_AUTH, tuple(sans))

    def client(self, file_name: str, *, user: str, groups: Iterable[str] = ()) -> Pair:
        """A client certificate: the API server reads the user from CN and the groups from O."""
        return self._issue(file_name, user, tuple(groups), ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def _issue(
        self, file_name: str, user: str, groups: tuple[str, ...], usage: x509.ObjectIdentifier, sans: tuple[str, ...]
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([usage]), False),
            # strict verifiers (Python 3.13) refuse a certificate without it
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ]
        if sans:
            extensions.append((x509.SubjectAlternativeName([_general_name(san) for san in sans]), False))
        signed = self._sign(_name(user, groups), key.public_key(), extensions)
        pair = Pair(self._directory / f"{file_name}.crt", self._directory / f"{file_name}.key")
        pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        write_private_key(pair.key, key)
        return pair

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extensions: list[tuple[x509.ExtensionType, bool]]
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BEFORE)
            .not_valid_after(now + _LIFETIME)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def service_account_keys(directory: Path) -> Pair:
    """The pair that signs and verifies ServiceAccount tokens: `certificate` holds the bare public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    pair = Pair(directory / "service-accounts.pub", directory / "service-accounts.key")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pair.certificate.write_bytes(public)
    write_private_key(pair.key, key)
    return pair


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write `key` so that only the owner can ever have read it."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)


def _name(user: str, groups: tuple[str, ...]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
