# SPDX-License-Identifier: Apache-2.0
"""Listens to the kernel of every node for addresses that come and go.

One netlink socket per node, opened in the node's namespace and read here; pyroute2 packs and parses the messages. pyroute2's own sockets are not used:
the synchronous one cannot live beside our event loop, the asynchronous one would fork a child per node. What the messages add up to is `Picture`'s.

A socket that overran has lost messages, and those still in it are older than the loss: they are thrown away, and the kernel is dumped. So at rest the
picture is right whatever was missed; only instants of moves that happened in between are then late. Names of links come by the same socket, in order
with the addresses; they are never looked up afterwards, when a link may be gone.

The rig's own addresses and link-local ones are left out: what remains was put there by an agent.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from purelb.net.ranges import IPAddress
from purelb.sandbox.rig.holders import Holder, Holders
from purelb.sandbox.rig.namespaces import inside
from purelb.sandbox.rig.pictures import Held, Picture

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping

    from purelb.sandbox.rig.pictures import Change
    from purelb.sandbox.rig.topology import Topology

RECEIVE_MAX: Final = 1 << 18
# A dump under which something changed is asked for again. Where changes never rest the last one counts: the events behind it say what changed.
DUMPS_MAX: Final = 8

log = logging.getLogger(__name__)


class KernelWatch:
    """Feeds `holders` from the kernels of all nodes, from construction until `close`."""

    def __init__(self, topology: Topology, networks: Mapping[str, int], holders: Holders) -> None:
        self._holders = holders
        self._own = frozenset[IPAddress](address for node in topology.nodes for address in node.own)
        self._marshal = MarshalRtnl()
        self._networks = {node.name: networks[node.name] for node in topology.nodes}
        self._pictures = {name: Picture() for name in self._networks}
        self._sockets = {name: self._open(network) for name, network in self._networks.items()}
        self._loop: asyncio.AbstractEventLoop | None = None
        for name in self._sockets:
            self._dump(name)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for name, sock in self._sockets.items():
            loop.add_reader(sock, self._read, name)

    def forget(self, node: str) -> None:
        """The node has no kernel any more: it holds nothing, and its socket lets go of its namespace."""
        self._drop(self._sockets.pop(node))
        del self._networks[node]
        self._holders.replace(node, frozenset(), at=time.monotonic())

    def follow(self, node: str, network: int) -> None:
        """The node, forgotten before, has a kernel again."""
        self._networks[node], self._pictures[node] = network, Picture()
        self._sockets[node] = self._open(network)
        self._dump(node)
        if self._loop is not None:
            self._loop.add_reader(self._sockets[node], self._read, node)

    def close(self) -> None:
        for sock in self._sockets.values():
            self._drop(sock)
        self._sockets = {}

    def _drop(self, sock: socket.socket) -> None:
        if self._loop is not None:
            self._loop.remove_reader(sock)
        sock.close()

    def _open(self, network: int) -> socket.socket:
        with inside(network):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_MAX)
        sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        sock.setblocking(False)
        return sock

    def _dump(self, name: str) -> None:
        """Ask for everything on a socket of its own: events of the other one cannot be mistaken for the answer."""
        with inside(self._networks[name]):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        with sock:
            for _ in range(DUMPS_MAX):
                links, links_whole = self._ask(sock, ifinfmsg(), RTM_GETLINK)
                addresses, addresses_whole = self._ask(sock, ifaddrmsg(), RTM_GETADDR)
                if links_whole and addresses_whole:
                    break
            else:
                log.warning("%s: %d dumps in a row were interrupted by changes; the last one counts", name, DUMPS_MAX)
        picture = self._pictures[name]
        picture.replace(
            {link["index"]: link.get_attr("IFLA_IFNAME") for link in links},
            [held for message in addresses if (held := self._held(message)) is not None],
        )
        self._holders.replace(name, picture.have(), at=time.monotonic())

    def _ask(self, sock: socket.socket, request: Any, kind: int) -> tuple[list[Any], bool]:
        """The whole answer to one dump, and whether nothing changed while it was made. Raises what the kernel objects."""
        request["header"]["type"] = kind
        request["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
        request.encode()
        sock.send(request.data)
        answer: list[Any] = []
        whole = True
        while True:  # the kernel has the answer ready: these reads do not wait
            for message in self._marshal.parse(sock.recv(RECEIVE_MAX)):
                if (objection := message["header"]["error"]) is not None:
                    raise objection
                whole = whole and not message["header"]["flags"] & NLM_F_DUMP_INTR
                if message["header"]["type"] == NLMSG_DONE:
                    return answer, whole
                answer.append(message)

    def _read(self, name: str) -> None:
        try:
            data = self._sockets[name].recv(RECEIVE_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            _empty(self._sockets[name])
            self._dump(name)
            return
        at = time.monotonic()
        for message in self._marshal.parse(data):
            for address, interface, present in self._changes(self._pictures[name], message):
                self._holders.seen(address, Holder(name, interface), present=present, at=at)

    def _changes(self, picture: Picture, message: Any) -> Iterator[Change]:
        kind = message["header"]["type"]
        if kind in {RTM_NEWADDR, RTM_DELADDR}:
            if (held := self._held(message)) is not None:
                yield from picture.address(held, present=kind == RTM_NEWADDR)
        elif message["family"] == socket.AF_UNSPEC:  # a bridge tells of its ports with links' messages, too
            if kind == RTM_NEWLINK:
                yield from picture.link(message["index"], message.get_attr("IFLA_IFNAME"))
            elif kind == RTM_DELLINK:
                yield from picture.link_gone(message["index"])

    def _held(self, message: Any) -> Held | None:
        address = ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        if address in self._own or address.is_link_local or address.is_loopback:
            return None
        return Held(address, message["prefixlen"], message["index"])


def _empty(sock: socket.socket) -> None:
    """Throw away what is queued. A second overrun meanwhile is no news."""
    while True:
        try:
            sock.recv(RECEIVE_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
