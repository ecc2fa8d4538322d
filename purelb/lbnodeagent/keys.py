# SPDX-License-Identifier: Apache-2.0
"""What the agent's owner is woken for, one type per kind of thing, so that a key of another kind cannot be mistaken."""

from __future__ import annotations

from msgspec import Struct

from purelb.net.ranges import IPAddress


class Svc(Struct, frozen=True):
    """A Service, `namespace/name`."""

    name: str


class Ip(Struct, frozen=True):
    """One VIP: its verdict, or a timer of its machine."""

    ip: IPAddress


class Peer(Struct, frozen=True):
    """The lease of a node's agent, our own included (the echo of a renewal)."""

    node: str


class Links(Struct, frozen=True):
    """Interfaces, own addresses or routes changed, or the model is to be compared with a full dump."""


class Config(Struct, frozen=True):
    """LBNodeAgents, ServiceGroups or the own Node changed."""


class Endpoints(Struct, frozen=True):
    """Slices of a Service, `namespace/name`."""

    service: str


class Kernel(Struct, frozen=True):
    """Events of the kernel wait."""


class Heard(Struct, frozen=True):
    """Frames of other hosts wait."""


class OwnLease(Struct, frozen=True):
    """Our lease was renewed, was not, or is about to be stale."""


class Sweep(Struct, frozen=True):
    """Lifetimes are to be renewed."""


class Speak(Struct, frozen=True):
    """Frames are due."""


class Deaf(Struct, frozen=True):
    """The loop stood still, or a proof that we hear again is due."""


class Listed(Struct, frozen=True):
    """The Services were listed again because of the gap of this number, and what differs was queued before this."""

    gap: int


class Contest(Struct, frozen=True):
    """A peer that is named as holder of what we win is to be asked, or has answered."""


class Leave(Struct, frozen=True):
    """The process was asked to stop."""


class Report(Struct, frozen=True):
    """What this node says about itself may have changed, or a write of it was answered."""


Key = (
    Svc
    | Ip
    | Peer
    | Links
    | Config
    | Endpoints
    | Kernel
    | Heard
    | OwnLease
    | Sweep
    | Speak
    | Deaf
    | Listed
    | Contest
    | Leave
    | Report
)
