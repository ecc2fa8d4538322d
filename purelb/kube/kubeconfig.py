# SPDX-License-Identifier: Apache-2.0
"""One load of a kubeconfig, through `kubernetes_asyncio`, which is imported by nobody else.

Nothing of a load stays: no file, no cached name of a file, no process, no descriptor of ours. Exceptions of the library are not
chained, as they print what stands in the file. A plugin is started by us and not by the library, see `plugin`.

Not promised: that a program which a `gcp` auth-provider names is ended when it hangs; kubectl has none of those since 1.26.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from purelb.kube.credentials import Credential, Tls, ssl_context, words
from purelb.kube.errors import AccessError
from purelb.kube.plugin import PluginError, ask
from purelb.kube.secret import Secret
from purelb.kube.transport import LIBRARY_ERRORS

LOAD_TIMEOUT: Final = 30.0
"""A plugin may ask a person, but not for ever. Who loads again within a call of 10 s gives it no more than that."""


class Loaded(Struct, frozen=True, kw_only=True):
    """What a kubeconfig says. `server` has no trailing slash; `namespace` is `""` when nobody named one."""

    server: str
    namespace: str
    authorization: Secret | None
    tls: Tls
    proxy: str | None

    def __repr__(self) -> str:
        return f"Loaded(server={self.server!r})"

    def credential(self) -> Credential:
        try:
            context = ssl_context(self.tls) if self.server.startswith("https:") else None
        except (OSError, ValueError) as error:
            raise AccessError(f"the certificates for {self.server} cannot be used: {words(error)}") from None
        return Credential(self.authorization, context)


async def load(paths: str, context: str | None) -> Loaded:
    """Load once, and again from the start next time. Raises `AccessError`; cancelling it ends its plugin."""
    import yaml
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException, kube_config
    from kubernetes_asyncio.config.exec_provider import ExecProvider

    class Loader(kube_config.KubeConfigLoader):
        """The library's, but for the plugin, which it would start in a way that nobody can end."""

        cert_file: str | None
        key_file: str | None

        async def load_from_exec_plugin(self) -> bool:
            user: Any = self._user
            plugin = ExecProvider(user["exec"])
            info = {
                "apiVersion": plugin.api_version,
                "kind": "ExecCredential",
                "spec": {"interactive": sys.stdout.isatty()},
            }
            env = {**plugin.env, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
            given = await ask(plugin.args, env=env, api_version=str(plugin.api_version))
            if given.token:
                self.token = f"Bearer {given.token}"
            if given.client_certificate_data:
                self.cert_file = _written(given.client_certificate_data, Path(private, "plugin.crt"))
                self.key_file = _written(given.client_key_data, Path(private, "plugin.key"))
            return True

    into: Any = Configuration()
    with tempfile.TemporaryDirectory() as private:
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                merged = kube_config.KubeConfigMerger(paths)
                loader = Loader(
                    config_dict=merged.config,
                    active_context=context,
                    config_base_path=None,
                    config_persister=merged.save_changes,  # an OIDC provider may give each refresh token once
                    temp_file_path=private,
                )
                await loader.load_and_set(into)
            # The library writes its files after its last await, and nothing here gives up the loop: its cache of file
            # names, shared by all loads of the process, can be emptied without taking them from another load.
            chosen = (loader.current_context or {}).get("context") or {}
            certificate, key = _bytes_of(into.cert_file), _bytes_of(into.key_file)
            return Loaded(
                server=server_url(str(into.host)),
                namespace=str(chosen.get("namespace") or ""),
                authorization=Secret(header) if (header := into.api_key.get("BearerToken")) else None,
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
        except (ConfigException, PluginError) as error:
            raise AccessError(f"kubeconfig {paths!r} cannot be used: {_without_objects(str(error))}") from None
        except (*LIBRARY_ERRORS, yaml.YAMLError) as error:  # an OIDC provider is asked over HTTP
            raise AccessError(f"kubeconfig {paths!r} cannot be read: {words(error)}") from None
        except (LookupError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
            # How that library reacts to a file whose shape is wrong.
            raise AccessError(f"kubeconfig {paths!r} has not the shape of one ({type(error).__name__})") from None
        finally:
            kube_config._temp_files.clear()  # noqa: SLF001  there is no other way to it


def server_url(text: str) -> str:
    """The URL without its last slash. Without this check the text would be waited for as if it were a server that is down."""
    from urllib.parse import urlsplit

    url = urlsplit(text)
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or url.port == 0
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError("its server is no URL such as https://192.0.2.1:6443")
    return text.rstrip("/")


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


def _written(text: str, path: Path) -> str:
    path.write_text(text)
    return str(path)


def _bytes_of(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _without_objects(text: str) -> str:
    """The library names places by printing what stands there, tokens included."""
    return re.sub(r"\{.*", "{...}", text, flags=re.DOTALL)
