# SPDX-License-Identifier: Apache-2.0
"""LBNodeAgent: how node agents work. Defaults in code and v1 names are read in `purelb.api.nodeagents`."""

from typing import Annotated, Final

from msgspec import Struct, field

from purelb.api.shapes import duration, number, part, several, switch, text, word
from purelb.kube.model import Condition, LabelSelector, ObjectMeta

INTERFACE: Final = r"^[^\s/]{1,15}$"


class GarpConfig(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    enabled: Annotated[bool | None, switch("Announce addresses on the link at all.", default=True)] = None
    initial_delay: Annotated[
        str, duration("From the address being added to the first announcement of the sequence.", default="100ms")
    ] = ""
    count: Annotated[int | None, number("Announcements in the sequence.", least=1, most=10, default=3, bits=32)] = None
    interval: Annotated[str, duration("Between announcements of the sequence.", default="500ms")] = ""
    verify_before_send: Annotated[
        bool | None, switch("Drop an announcement when the address is no longer held.", default=True)
    ] = None
    repeat_interval: Annotated[
        str, duration("Between repetitions while the address is held; 0s is never.", default="60s")
    ] = ""


class AddressOptions(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    valid_lifetime: Annotated[int | None, number("Seconds; 0 is permanent, 1 to 59 count as 60.", most=4294967295)] = (
        None
    )
    preferred_lifetime: Annotated[int | None, number("Seconds; capped to the valid lifetime.", most=4294967295)] = None
    no_prefix_route: Annotated[bool | None, switch("Add addresses without a route to their prefix.")] = None


class AddressConfig(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    local_interface: Annotated[AddressOptions | None, part("For addresses on real interfaces.")] = None
    dummy_interface: Annotated[AddressOptions | None, part("For addresses on the dummy interface.")] = None


class HeartbeatConfig(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    enabled: Annotated[bool | None, switch("Exchange heartbeats with the agents of a subnet.", default=True)] = None
    port: Annotated[int | None, number("UDP port.", least=1024, most=65535, default=7934, bits=32)] = None
    interval: Annotated[str, duration("Between heartbeats.", least="100ms", most="5s", default="200ms")] = ""


class AgentConfig(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`spec.local`. `local_interface` and `dummy_interface` have no schema default: it would hide their v1 names."""

    local_interface: Annotated[
        str,
        text(
            "Interface of the default route (default), or a regular expression searched in interface names.", most=256
        ),
    ] = ""
    interfaces: Annotated[
        tuple[Annotated[str, text(most=15, pattern=INTERFACE, required=True)], ...] | None,
        several("Further interfaces, by name.", most=32),
    ] = ()
    dummy_interface: Annotated[
        str, text("Interface for addresses of no local subnet; kube-lb0 when not set.", most=15, pattern=INTERFACE)
    ] = ""
    dummy_kind: Annotated[str, word("Kind of link to create for it.", of=("dummy", "ifb"), default="dummy")] = ""
    garp_config: Annotated[GarpConfig | None, part("Gratuitous ARP and unsolicited neighbour advertisements.")] = None
    address_config: Annotated[AddressConfig | None, part("How addresses are added.")] = None
    heartbeat: Annotated[HeartbeatConfig | None, part("Heartbeats between the agents of one subnet.")] = None
    duplicate_check: Annotated[
        bool | None, switch("Ask the link for an address before it is announced.", default=True)
    ] = None
    on_api_outage: Annotated[
        str, word("What a node does that cannot renew its lease.", of=("Hold", "Withdraw"), default="Hold")
    ] = field(name="onAPIOutage", default="")
    failback: Annotated[
        str,
        word(
            "Whether a node gives an address back to one that ranks better.",
            of=("Immediate", "Never"),
            default="Immediate",
        ),
    ] = ""
    drain_on: Annotated[
        tuple[
            Annotated[str, word(of=("Cordon", "NoExecuteTaint", "NetworkUnavailable", "NotReady"), required=True)], ...
        ]
        | None,
        several(
            "What on its own Node makes an agent hand its addresses over.",
            most=4,
            default=("Cordon", "NoExecuteTaint", "NetworkUnavailable"),
        ),
    ] = None
    localint: Annotated[str, text("v1 name of localInterface.", most=256)] = ""
    extlbint: Annotated[str, text("v1 name of dummyInterface.", most=15, pattern=INTERFACE)] = ""
    sendgarp: Annotated[bool | None, switch("v1 name, without effect: see garpConfig.enabled.")] = None


class LBNodeAgentSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    node_selector: Annotated[LabelSelector | None, part("Nodes this applies to; all when not set.")] = None
    local: Annotated[AgentConfig | None, part("Settings of the agents; absent, the object configures nothing.")] = None


class LBNodeAgentStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    observed_generation: Annotated[int | None, number("Generation that this status describes.")] = None
    nodes: Annotated[int | None, number("Nodes that use this object.")] = None
    conditions: Annotated[tuple[Condition, ...] | None, several("Type Ready.", most=16, list_key="type")] = ()


class LBNodeAgent(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="LBNodeAgent"):
    """How node agents work."""

    metadata: ObjectMeta = ObjectMeta()
    spec: LBNodeAgentSpec | None = None
    status: LBNodeAgentStatus | None = None
