# SPDX-License-Identifier: Apache-2.0
"""What the allocator can be told, and what its settings must be, each and together.

Flag, environment variable and key of the file follow from the fields; a rule answers every problem it sees, and raises nothing.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from purelb.api import annotations as words
from purelb.api import names
from purelb.api.messages import quoted
from purelb.kube.access import SERVICE_ACCOUNT_DIR
from purelb.kube.lease import Timing
from purelb.process.options import ProcessSettings
from purelb.process.settings import Duration, Problem, Setting


class AllocatorSettings(ProcessSettings, frozen=True, kw_only=True):
    """What the allocator can be told."""

    config_scope: Annotated[
        Literal["install", "all"], Setting(help="read ServiceGroups of the install namespace, or of all")
    ] = "install"
    lb_class: Annotated[tuple[str, ...], Setting(help="the load balancer classes that are ours, replacing the set")] = (
        words.LB_CLASSES
    )
    default_announcer: Annotated[
        str, Setting(help="exactly PureLB takes Services without a class", env="DEFAULT_ANNOUNCER")
    ] = ""
    external_traffic_policy: Annotated[
        Literal["override", "honor"], Setting(help="what becomes of externalTrafficPolicy Local on local addresses")
    ] = "override"
    status_page: Annotated[
        Literal["off", "loopback"], Setting(help="who is shown the status page: nobody, as there is none yet")
    ] = "off"
    writers: Annotated[int, Setting(help="concurrent writes", low=1, high=64)] = 8
    leader_elect: Annotated[bool, Setting(help="false only for one replica with strategy Recreate")] = True
    leader_lease_duration: Annotated[
        Duration,
        Setting(help="how long leadership lasts without renewal", high=2**31 - 1),  # seconds, an int32 in a Lease
    ] = Duration(15)
    leader_renew_deadline: Annotated[Duration, Setting(help="how long renewing may fail")] = Duration(10)
    leader_retry_period: Annotated[Duration, Setting(help="how often leadership is renewed")] = Duration(2)


def lease_timing(settings: AllocatorSettings) -> Timing:
    return Timing(settings.leader_lease_duration, settings.leader_renew_deadline, settings.leader_retry_period)


def own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT_DIR / "namespace").read_text().strip()
    except (OSError, UnicodeError):  # no text is no namespace: the setting is asked for
        return ""


def rules(settings: AllocatorSettings) -> Iterator[Problem]:
    """What the settings must be together."""
    if not settings.namespace and not own_namespace():
        text = "the install namespace is unknown: set PURELB_NAMESPACE (downward API metadata.namespace) or --namespace"
        yield Problem("--namespace", text)
    if settings.namespace and not names.is_namespace(settings.namespace):
        yield Problem(
            "--namespace", f"{quoted(settings.namespace)} is no name of a namespace: write for example purelb"
        )
    if not settings.lb_class:
        yield Problem("--lb-class", "names no class")
    for name in settings.lb_class:
        if not names.is_qualified(name):
            yield Problem("--lb-class", f"{quoted(name)} is no class: write for example {words.LB_CLASSES[0]}")
    if settings.default_announcer not in {"", words.BRAND}:
        yield Problem(
            "--default-announcer",
            f'"{settings.default_announcer[:128]}" is not {words.BRAND}; leave it empty or write exactly that',
        )


def timing_rule(settings: AllocatorSettings) -> Iterator[Problem]:
    try:
        lease_timing(settings)
    except ValueError as error:
        yield Problem("--leader-lease-duration", str(error))


def not_built(settings: AllocatorSettings) -> Iterator[Problem]:
    if settings.status_page != "off":
        yield Problem(
            "--status-page", f'"{settings.status_page}" is not there yet: there is no status page; leave it off'
        )


RULES: Final = (rules, timing_rule, not_built)
