# SPDX-License-Identifier: Apache-2.0
"""A small certificate authority for one sandbox: ECDSA P-256, one server certificate, client certificates on demand.

Keys and kubeconfigs are written with mode 0600 below one directory and nowhere else. The certificates live for ten years,
which is longer than any sandbox; rotating the CA means making a new `Pki` in the same place.
"""

import base64
import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LIFETIME = timedelta(days=3650)


def _name(common: str, organizations: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner can read, and never show half of it."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)


class Pki:
    """The authority of one directory; made there if it is empty, else read back."""

    def __init__(self, directory: Path, *, names: Sequence[str] = LOOPBACK) -> None:
        """`names`: DNS names and addresses under which the server will be reached."""
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca_path, key_path = directory / "ca.crt", directory / "ca.key"
        if ca_path.exists() and key_path.exists():
            self._ca = x509.load_pem_x509_certificate(ca_path.read_bytes())
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_path} holds no ECDSA key: remove {directory} to have a new authority made")
            self._key = key
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._ca = self._authority()
            write_private(ca_path, self._ca.public_bytes(serialization.Encoding.PEM))
            write_private(key_path, _pem(self._key))
        self.server_cert, self.server_key = directory / "server.crt", directory / "server.key"
        self._issue_server(names)

    @property
    def ca_pem(self) -> bytes:
        return self._ca.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        start = datetime.now(UTC) - timedelta(hours=1)
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(start).not_valid_after(start + _LIFETIME)

    def _authority(self) -> x509.Certificate:
        name = _name("purelb-sandbox-ca")
        builder = self._builder(name, self._key).issuer_name(name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def _signed(
        self, subject: x509.Name, usage: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key).issuer_name(self._ca.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _issue_server(self, names: Sequence[str]) -> None:
        shown: list[x509.GeneralName] = []
        for name in names:
            try:
                shown.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                shown.append(x509.DNSName(name))
        certificate, key = self._signed(_name("purelb-sandbox"), ExtendedKeyUsageOID.SERVER_AUTH, shown)
        write_private(self.server_cert, certificate)
        write_private(self.server_key, key)

    def client(self, user: str, groups: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """PEM certificate and key that name a user and its groups."""
        return self._signed(_name(user, groups), ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def server_context(self) -> ssl.SSLContext:
        """TLS for the server; a client certificate is asked for and need not be given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server_cert, self.server_key)
        context.load_verify_locations(cadata=self.ca_pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        return context

    def admin_kubeconfig(self, server: str, path: Path | None = None) -> Path:
        """Write a kubeconfig with a certificate of `system:masters`; answers its path."""
        path = path or self.directory / "kubeconfig"
        certificate, key = self.client("kubernetes-admin", ("system:masters",))
        user = {"client-certificate-data": _b64(certificate), "client-key-data": _b64(key)}
        write_private(path, self.kubeconfig(server, user))
        return path

    def token_kubeconfig(self, server: str, token: str, path: Path) -> Path:
        """Write a kubeconfig with a bearer token; answers its path."""
        write_private(path, self.kubeconfig(server, {"token": token}))
        return path

    def kubeconfig(self, server: str, user: dict[str, str]) -> bytes:
        name = "purelb-sandbox"
        cluster = {"server": server, "certificate-authority-data": _b64(self.ca_pem)}
        context = {"cluster": name, "user": name, "namespace": "default"}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": cluster}],
                "users": [{"name": name, "user": user}],
                "contexts": [{"name": name, "context": context}],
                "current-context": name,
            },
            sort_keys=False,
        ).encode()


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
