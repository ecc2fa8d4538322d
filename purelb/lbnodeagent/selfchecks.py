# SPDX-License-Identifier: Apache-2.0
"""What must be true of this machine before an agent starts: capabilities, netlink, the kernel's age.

All are asked and all failures told. An API server that is down is none of them: it never ends a process.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from purelb.lbnodeagent import rtnetlink
from purelb.process.component import CannotStart

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST: Final = (4, 18)
ANSWER_S: Final = 5.0
_CAPABILITIES: Final = {
    "NET_ADMIN": (12, "without it no address can be added"),
    "NET_RAW": (13, "without it no ARP or neighbour announcement can be sent"),
}


def self_checks(*, status: str | None = None, release: str | None = None) -> tuple[CannotStart, ...]:
    """Every reason why an agent cannot work here. The arguments stand in for /proc/self/status and the kernel's release."""
    return (*_capabilities(status), *_kernel(release), *_netlink())


def _capabilities(status: str | None) -> Iterator[CannotStart]:
    text = Path("/proc/self/status").read_text(encoding="ascii") if status is None else status
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", text, re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    for name, (bit, why) in _CAPABILITIES.items():
        if not effective >> bit & 1:
            hint = f"add it to securityContext.capabilities.add; {why}"
            yield CannotStart(f"capability {name}", f"capability {name} is missing: {hint}", hint)


def _kernel(release: str | None) -> Iterator[CannotStart]:
    text = os.uname().release if release is None else release
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        yield CannotStart("kernel", f"kernel {text} is older than 4.18, the oldest supported", "use a newer kernel")


def _netlink() -> Iterator[CannotStart]:
    """One dump of the links: that sockets can be made does not say that they are answered."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
            asking.settimeout(ANSWER_S)
            asking.bind((0, 0))
            asking.send(rtnetlink.dump_request(rtnetlink.GETLINK, family=socket.AF_UNSPEC, sequence=1))
            while True:
                for message in rtnetlink.messages(asking.recv(65536)):
                    if message.type == rtnetlink.DONE:
                        return
                    if message.type == rtnetlink.ERROR:
                        raise OSError(0, message.error or "refused")
    except OSError as error:
        text = f"netlink does not work here: {error.strerror or error}"
        yield CannotStart("netlink", text, "allow AF_NETLINK sockets")
