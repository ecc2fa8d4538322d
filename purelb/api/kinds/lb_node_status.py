# SPDX-License-Identifier: Apache-2.0
"""LBNodeStatus: what the agent of one node says about itself. The whole object is a report, written at once."""

from typing import Annotated

from msgspec import Struct

from purelb.api.shapes import number, part, several, switch, text, word
from purelb.kube.model import ObjectMeta


class ConfigReport(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    state: Annotated[
        str, word("Where the settings come from.", of=("default", "configured", "deselected", "invalid"))
    ] = "default"
    source: Annotated[str, text("The LBNodeAgent in force, as namespace/name.", most=317)] = ""
    message: Annotated[str, text(most=1024)] = ""


class InterfaceReport(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    name: Annotated[str, text(most=15, required=True)] = ""
    role: Annotated[str, word(of=("local", "extra", "dummy"))] = "local"
    up: Annotated[bool, switch()] = False
    mac: Annotated[str, text(most=64)] = ""
    subnets: Annotated[
        tuple[Annotated[str, text(most=64)], ...] | None, several("Subnets advertised for election.", most=32)
    ] = ()
    addresses: Annotated[
        tuple[Annotated[str, text(most=64)], ...] | None, several("The node's own addresses, never ours.", most=64)
    ] = ()
    gateways: Annotated[
        tuple[Annotated[str, text(most=64)], ...] | None, several("Next hops of its default routes.", most=8)
    ] = ()


class Announced(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    ip: Annotated[str, text(most=64, required=True)] = ""
    prefix_length: Annotated[int, number(most=128, bits=32)] = 0
    interface: Annotated[str, text(most=15)] = ""
    services: Annotated[
        tuple[Annotated[str, text(most=317)], ...] | None, several("Services, as namespace/name.", most=64)
    ] = ()
    since: Annotated[str | None, text("For people; nothing decides by it.", most=64)] = None


class RemoteReport(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    interface: Annotated[str, text(most=15)] = ""
    count: Annotated[int, number("Exact; greater than the length of the list when that is cut off.")] = 0
    addresses: Annotated[
        tuple[Annotated[str, text(most=64)], ...] | None, several("As ip/prefix, sorted.", most=1024)
    ] = ()


class Withheld(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    ip: Annotated[str, text(most=64, required=True)] = ""
    services: Annotated[
        tuple[Annotated[str, text(most=317)], ...] | None, several("Services, as namespace/name.", most=64)
    ] = ()
    reason: Annotated[str, text(most=64)] = ""
    message: Annotated[str, text(most=256)] = ""
    since: Annotated[str | None, text("For people; nothing decides by it.", most=64)] = None


class FailureDetection(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    mode: Annotated[str, word(of=("lease", "heartbeat"))] = "lease"
    state: Annotated[str, word(of=("fit", "holding", "fenced", "draining"))] = "fit"
    since: Annotated[str | None, text("For people; nothing decides by it.", most=64)] = None
    peers: Annotated[int, number("Agents of one's own subnets.")] = 0
    heartbeat_peers: Annotated[int, number("Of those, agents heard by heartbeat.")] = 0


class NodeReport(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`status` of an LBNodeStatus: what the agent of one node says about itself."""

    instance: Annotated[str, text("Pod UID of the writer.", most=64)] = ""
    version: Annotated[str, text("Product version.", most=64)] = ""
    config: Annotated[ConfigReport | None, part("The configuration in force.")] = None
    interfaces: Annotated[tuple[InterfaceReport, ...] | None, several("Interfaces in use.", most=64)] = ()
    announced: Annotated[
        tuple[Announced, ...] | None,
        several("Addresses this node answers for on a real interface, sorted by ip.", most=4096),
    ] = ()
    remote: Annotated[RemoteReport | None, part("Addresses on the dummy interface.")] = None
    withheld: Annotated[
        tuple[Withheld, ...] | None,
        several("Addresses this node should announce but does not, and why.", most=1024),
    ] = ()
    failure_detection: Annotated[FailureDetection | None, part("How this node notices the death of others.")] = None
    announced_count: Annotated[int, number("Length of announced.")] = 0
    withheld_count: Annotated[int, number("Length of withheld.")] = 0


class LBNodeStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="LBNodeStatus"):
    """What the agent of one node reports; named like the node."""

    metadata: ObjectMeta = ObjectMeta()
    status: NodeReport | None = None
