# SPDX-License-Identifier: Apache-2.0
"""Listens to the kernel of every node for addresses that come and go.

One netlink socket per node, opened in the node's namespace and read here; pyroute2 packs and parses the messages. pyroute2's own sockets are not used:
the synchronous one cannot live beside our event loop, the asynchronous one would fork a child per node. A socket that overran is dumped again, so at rest
the picture is right whatever was missed; only instants of moves that happened in between are then late.

The rig's own addresses and link-local ones are left out: what remains was put there by an agent.
"""

from __future__ import annotations

import errno
import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from purelb.net.ranges import IPAddress
from purelb.sandbox.rig.holders import Holder, Holders
from purelb.sandbox.rig.namespaces import inside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from purelb.sandbox.rig.topology import Topology

NLMSG_DONE: Final = 3
RECEIVE_MAX: Final = 1 << 18


class KernelWatch:
    """Feeds `holders` from the kernels of all nodes, from construction until `close`."""

    def __init__(self, topology: Topology, networks: Mapping[str, int], holders: Holders) -> None:
        self._holders = holders
        self._own = frozenset[IPAddress](
            address
            for node in topology.nodes
            for address in (node.lan4, node.lan6, node.management, node.gateway4, node.gateway6)
        )
        self._marshal = MarshalRtnl()
        self._networks = {node.name: networks[node.name] for node in topology.nodes}
        self._sockets = {name: self._open(network) for name, network in self._networks.items()}
        for name in self._sockets:
            self._dump(name)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        for name, sock in self._sockets.items():
            loop.add_reader(sock, self._read, name)

    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        for sock in self._sockets.values():
            if loop is not None:
                loop.remove_reader(sock)
            sock.close()
        self._sockets = {}

    def _open(self, network: int) -> socket.socket:
        with inside(network):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_MAX)
        sock.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        sock.setblocking(False)
        return sock

    def _dump(self, name: str) -> None:
        """Ask for everything on a socket of its own: events of the other one cannot be mistaken for the answer."""
        with inside(self._networks[name]):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        with sock:
            request = ifaddrmsg()
            request["header"]["type"] = RTM_GETADDR
            request["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
            request.encode()
            sock.send(request.data)
            have: set[tuple[IPAddress, str]] = set()
            done = False
            while not done:  # the kernel has the answer ready: these reads do not wait
                for message in self._marshal.parse(sock.recv(RECEIVE_MAX)):
                    done = done or message["header"]["type"] == NLMSG_DONE
                    if (found := self._address(name, message)) is not None:
                        have.add(found)
        self._holders.replace(name, frozenset(have), at=time.monotonic())

    def _read(self, name: str) -> None:
        try:
            data = self._sockets[name].recv(RECEIVE_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._dump(name)
            return
        at = time.monotonic()
        for message in self._marshal.parse(data):
            if (found := self._address(name, message)) is not None:
                address, interface = found
                present = message["header"]["type"] == RTM_NEWADDR
                self._holders.seen(address, Holder(name, interface), present=present, at=at)

    def _address(self, name: str, message: Any) -> tuple[IPAddress, str] | None:
        if message["header"]["type"] not in {RTM_NEWADDR, RTM_DELADDR}:
            return None
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        address = ip_address(text)
        if address in self._own or address.is_link_local or address.is_loopback:
            return None
        return address, self._interface(name, message["index"])

    def _interface(self, name: str, index: int) -> str:
        with inside(self._networks[name]):
            try:
                return socket.if_indextoname(index)
            except OSError:  # the link went with its addresses
                return f"#{index}"
