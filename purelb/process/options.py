# SPDX-License-Identifier: Apache-2.0
"""What every component's process can be told, and how it can be run.

`ProcessSettings` are settings: they have a place in the file. `Modes` say what this one start is for, by flag or environment.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Struct

from purelb.process.settings import Duration, Problem, Setting

STATE_SOCKET: Final = "/run/purelb/state.sock"


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """What every component's process can be told."""

    namespace: Annotated[str, Setting(help="install namespace")] = ""
    kubeconfig: Annotated[str, Setting(help="kubeconfig to use; default: in-cluster", env="KUBECONFIG")] = ""
    context: Annotated[str, Setting(help="context of the kubeconfig")] = ""
    host: Annotated[str, Setting(help="address of the metrics and health listener; default: all")] = ""
    port: Annotated[int, Setting(help="port of the metrics and health listener", low=0, high=65535)] = 7472
    log_level: Annotated[Literal["info", "debug"], Setting(help="what is logged")] = "info"
    log_format: Annotated[Literal["json", "text"], Setting(help="form of the log; text is for a terminal")] = "json"
    shutdown_budget: Annotated[Duration, Setting(help="longest graceful shutdown", low=0.1, high=3600)] = Duration(10.0)
    metrics_per_service: Annotated[bool, Setting(help="expose series of single Services and addresses")] = True
    metrics_tls_cert: Annotated[Path | None, Setting(help="certificate of the listener, PEM; read again")] = None
    metrics_tls_key: Annotated[Path | None, Setting(help="its key, PEM; read again")] = None
    metrics_client_ca: Annotated[Path | None, Setting(help="whose client certificates /metrics needs, PEM")] = None
    metrics_auth: Annotated[
        Literal["none", "kubernetes"],
        Setting(help="who may read /metrics: everybody, or tokens that the API server allows"),
    ] = "none"
    state_socket: Annotated[str, Setting(help="Unix socket of `purelb state`; empty: none")] = STATE_SOCKET
    max_loop_lag: Annotated[Duration, Setting(help="loop lag at which /healthz fails", low=0.1)] = Duration(5.0)
    max_owner_turn: Annotated[
        Duration, Setting(help="length of one turn of the owner at which /healthz fails", low=0.1)
    ] = Duration(60.0)


class Modes(Struct, frozen=True, kw_only=True):
    """What one start is for; all off: run until a signal."""

    config: Annotated[Path | None, Setting(help="settings as YAML, keys in lowerCamelCase")] = None
    print_config: Annotated[bool, Setting(help="print the settings in force and their sources")] = False
    check: Annotated[bool, Setting(help="run the self-checks only, the API server's included")] = False
    dry_run: Annotated[
        Literal["off", "on", "once"],
        Setting(
            help="change nothing and print what would be changed; once: print it when all is known, exit 1 if it is something",
            alone="on",
        ),
    ] = "off"


def incomplete_tls(settings: ProcessSettings) -> Iterator[Problem]:
    """Certificate and key come together, and what names clients needs both."""
    cert, key = settings.metrics_tls_cert, settings.metrics_tls_key
    if cert is not None and key is None:
        yield Problem("--metrics-tls-cert", "needs --metrics-tls-key: give both files or neither")
    if key is not None and cert is None:
        yield Problem("--metrics-tls-key", "needs --metrics-tls-cert: give both files or neither")
    if cert is None or key is None:
        if settings.metrics_client_ca is not None:
            yield Problem("--metrics-client-ca", "needs TLS: give --metrics-tls-cert and --metrics-tls-key as well")
        if settings.metrics_auth != "none":
            text = (
                "needs TLS, as a token must not travel in clear: give --metrics-tls-cert and --metrics-tls-key as well"
            )
            yield Problem("--metrics-auth", text)


RULES: Final = (incomplete_tls,)


def one_mode(modes: Modes) -> Iterator[Problem]:
    """Each of them is all that a start is for."""
    given = [
        flag
        for flag, chosen in (
            ("--print-config", modes.print_config),
            ("--check", modes.check),
            ("--dry-run", modes.dry_run != "off"),
        )
        if chosen
    ]
    if len(given) > 1:
        yield Problem(given[0], f"cannot be combined with {' or '.join(given[1:])}: start the process once for each")


MODE_RULES: Final = (one_mode,)
