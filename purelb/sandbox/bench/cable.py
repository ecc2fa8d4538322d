# SPDX-License-Identifier: Apache-2.0
"""The other end of the node's cable: a client's network namespace there, for what only somebody on the LAN can see.

`hack/bench` gives the node an interface that is one end of a veth pair whose other end lies idle beside it. Here that end moves into
a namespace of its own, gets a client's addresses, and comes back at the end: a namespace that ended with it would take the node's
interface along. It is done before an agent starts, since the node's carrier is lost for a moment.

`ip` does it, not pyroute2: its synchronous sockets do not live beside an event loop.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from purelb.sandbox.rig.namespaces import current_network, inside, new_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# In the subnets of the node (`objects`), outside of its pools.
CLIENT: Final = (("172.30.0.100/16", ()), ("fd00:30::100/64", ("nodad",)))


class NoCable(Exception):
    """Why nobody can listen at the other end, with what would change it."""


class FarEnd:
    """The client's side: `network` holds its namespace, `link` is the interface in it."""

    def __init__(self, network: int, link: str) -> None:
        self.network = network
        self.link = link

    def forget_neighbours(self) -> None:
        """The client has never spoken to anybody: the next address that it asks for has to be resolved."""
        with inside(self.network):
            _ip("neigh", "flush", "all")


def other_end(shown: Sequence[dict[str, Any]], address: str) -> str:
    """The peer, in the same namespace, of the interface with `address`, from `ip -json address show`. Raises NoCable."""
    for interface in shown:
        if all(address != found.get("local") for found in interface.get("addr_info", ())):
            continue
        peer = interface.get("link")
        if peer is None or not any(peer == other["ifname"] for other in shown):
            raise NoCable(
                f"{interface['ifname']}, which has {address}, is no end of a veth pair whose other end lies in this "
                "network namespace: nobody can listen on its LAN; hack/bench makes one"
            )
        return str(peer)
    raise NoCable(f"no interface of this network namespace has {address}, the node's: hack/bench makes one")


@contextmanager
def far_end(address: str) -> Iterator[FarEnd]:
    """Make the other end of the cable of the interface with `address` a client's, until the block ends. Raises NoCable."""
    link = other_end(json.loads(_ip("-json", "address", "show")), address)
    home, away = current_network(), new_network()
    try:
        _move(link, to=away)
        try:
            with inside(away):
                _ip("link", "set", "lo", "up")
                _ip("link", "set", link, "up")
                for own, flags in CLIENT:
                    _ip("address", "add", own, "dev", link, *flags)
            yield FarEnd(away, link)
        finally:
            with inside(away):
                _move(link, to=home)
            _ip("link", "set", link, "up")
    finally:
        os.close(away)
        os.close(home)


def _move(link: str, *, to: int) -> None:
    _ip("link", "set", link, "netns", f"/proc/self/fd/{to}", keep=(to,))


def _ip(*words: str, keep: tuple[int, ...] = ()) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True, pass_fds=keep)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
