# SPDX-License-Identifier: Apache-2.0
"""The suites there are: what each measures and what it needs, for the command, the order of the results and the page. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class About(Struct, frozen=True, kw_only=True):
    """`needs`: nothing but this machine, an API server made for it, or a second cluster besides."""

    measures: str
    needs: Literal["nothing", "server", "peer"]


SUITES: Final[Mapping[str, About]] = {
    "runtime": About(
        measures="The runtime that PureLB stands on (`purelb.kube`): decoding, memory, stretches on the event loop, each "
        "against the usual libraries in the same run.",
        needs="nothing",
    ),
    "api": About(
        measures="The embedded API server of the sandbox: CPU per PATCH and per event, against a bare handler on the same "
        "HTTP library.",
        needs="nothing",
    ),
    "decide": About(
        measures="What the allocator's owner does: writes, decisions and CPU on a ledger as full as clusters get, without "
        "an API server.",
        needs="nothing",
    ),
    "allocate": About(
        measures="Addresses for Services on a real kube-apiserver: in a burst, while they arrive, one at a time, with many "
        "there already and while a node dies.",
        needs="server",
    ),
    "announce": About(
        measures="The same with a node agent: from the creation of a Service to its address on the interface, to the first frame "
        "that claims it at the other end of the cable, and to the first HTTP answer there through the real kube-proxy (which may "
        "look at changes every 10 ms here, not every second); from its deletion until the interface has lost the address.",
        needs="server",
    ),
    "failover": About(
        measures="How long an address does not answer, and how many nodes have it at once, when the node that has it is drained, "
        "loses its agent, its power or its network, or when the API is away: in the sandbox, as its client's probes (100 a second "
        "and address) and the nodes' kernels saw it, recovery included. A node that is gone is found out by its lease alone "
        "(10 s), one that is cut off from the LAN only and keeps its carrier not at all. `--trials N` takes that many of each kind, "
        "20 for a complete comparison (half an hour).",
        needs="nothing",
    ),
    "steady": About(
        measures="Memory, CPU and writes of both processes while nothing changes.",
        needs="server",
    ),
    "scale": About(
        measures="A process that follows 10,000 Services and 10,000 EndpointSlices while 500 of them change each second.",
        needs="server",
    ),
    "peer": About(
        measures="The same Services, by the same client, on another cluster of the machine whose load balancer is somebody "
        "else's, in turns: allocation; announcing, where its node is on this LAN; writes and requests at rest. Bursts and "
        "the writes of a Service need `--peer-allocator NAME=COMMAND` (and `--peer-agent`), which start the peer for its turns; its "
        "API server is best started with `python -m hack.control_plane --without-controllers up`, as ours is. Not failover, "
        "which needs nodes whose power can be taken.",
        needs="peer",
    ),
}
ALONE: Final = tuple(name for name, about in SUITES.items() if about.needs == "nothing")


def repeated_by(name: str) -> str:
    """The command, in a checkout, that measures this suite again."""
    match SUITES[name].needs:
        case "nothing":
            return f"purelb sandbox bench {name}"
        case "server":
            return f"hack/bench {name}"
        case "peer":
            return f"hack/bench {name} --peer NAME=KUBECONFIG"
