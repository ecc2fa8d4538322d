# SPDX-License-Identifier: Apache-2.0
"""What an agent's process can be told by flags and environment, and what of it cannot be together.

What nodes do with addresses stands in LBNodeAgents, which change without a restart.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from purelb.api import names
from purelb.api.messages import shown
from purelb.kube.lease import Timing
from purelb.process.options import ProcessSettings
from purelb.process.settings import Duration, Problem, Setting


class AgentSettings(ProcessSettings, frozen=True, kw_only=True):
    """What an agent can be told by its process; what nodes do stands in LBNodeAgents."""

    node_name: Annotated[str, Setting(help="name of the Node this runs on")] = ""
    pod_uid: Annotated[str, Setting(help="identity of this instance; random when not given")] = ""
    config_scope: Annotated[
        Literal["install", "all"], Setting(help="read our kinds in the install namespace, or in all")
    ] = "install"
    lease_duration: Annotated[
        Duration,
        Setting(help="how long peers believe this agent without a renewal", low=3, high=2**31 - 1),  # int32 in a Lease
    ] = Duration(10.0)
    renew_deadline: Annotated[Duration, Setting(help="how long renewing may fail before the lease is stale")] = (
        Duration(7.0)
    )
    retry_period: Annotated[Duration, Setting(help="pause between attempts to renew")] = Duration(2.0)
    shutdown_budget: Annotated[Duration, Setting(help="longest graceful shutdown", low=0.1, high=3600)] = Duration(20.0)


def timing(settings: AgentSettings) -> Timing:
    """How long the lease lasts and how often it is renewed. Raises ValueError."""
    return Timing(settings.lease_duration, settings.renew_deadline, settings.retry_period)


def unnamed(settings: AgentSettings) -> Iterator[Problem]:
    """Where this agent runs has to be known."""
    if not settings.namespace:
        text = "the install namespace is unknown: set PURELB_NAMESPACE (downward API metadata.namespace) or --namespace"
        yield Problem("--namespace", text)
    if not settings.node_name:
        text = "the node name is unknown: set PURELB_NODE_NAME (downward API spec.nodeName) or --node-name"
        yield Problem("--node-name", text)
    if settings.namespace and not names.is_namespace(settings.namespace):
        yield Problem(
            "--namespace", f'"{shown(settings.namespace)}" is no name of a namespace: write for example purelb'
        )
    if settings.node_name and not names.is_subdomain(settings.node_name):
        yield Problem(
            "--node-name", f'"{shown(settings.node_name)}" is no name of a Node: write what kubectl get nodes shows'
        )


def untimely(settings: AgentSettings) -> Iterator[Problem]:
    """What the times of the lease must be together."""
    try:
        timing(settings)
    except ValueError as error:
        yield Problem("--lease-duration", str(error))


RULES: Final = (unnamed, untimely)
