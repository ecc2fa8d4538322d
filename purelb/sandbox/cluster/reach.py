# SPDX-License-Identifier: Apache-2.0
"""What somebody outside can do with a running sandbox: ask it, stop it, enter its rooms.

Whether a sandbox runs is asked of the socket, never of a file: the kernel says who listens (SO_PEERCRED), and a pidfd of that process says when it is gone.
Ending one is SIGKILL to its first process: it has nothing to put away, and the kernel does the rest.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

import msgspec

from purelb.sandbox.cluster.control import short
from purelb.sandbox.cluster.state import DEFAULT, BadName, StateDirectory, Unusable
from purelb.sandbox.rig.topology import Shape, plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from purelb.sandbox.apiserver.faults import Rule
    from purelb.sandbox.cluster.breakage import Order
    from purelb.sandbox.cluster.probe_results import ProbeResult
    from purelb.sandbox.rig.topology import Subnet

ANSWER_LIMIT_S: Final = 10.0
END_LIMIT_S: Final = 10.0


class NotRunning(Exception):
    """Nobody listens on the control socket."""


class Refused(Exception):
    """The sandbox said no, and why."""


class _Connection(HTTPConnection):
    def __init__(self, state: StateDirectory) -> None:
        super().__init__("sandbox", timeout=ANSWER_LIMIT_S)
        self._state = state

    def connect(self) -> None:
        self.sock = _connect(self._state)


def _connect(state: StateDirectory) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(ANSWER_LIMIT_S)
    try:
        with short(state.socket) as reachable:
            sock.connect(reachable)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        sock.close()
        named = "" if state.name == DEFAULT else f" --name {state.name}"
        raise NotRunning(f"no sandbox {state.name!r} is running: start it with `purelb sandbox{named} up`") from error
    except OSError as error:
        sock.close()
        raise Unusable(f"cannot ask {state.socket}: {error.strerror or error}") from error
    return sock


def running(home: Path) -> tuple[str, ...]:
    """The sandboxes with a state directory in `home` that somebody answers for, by name; those we may not ask are left out."""
    found = []
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        with suppress(NotRunning, Unusable, BadName):
            found.append(Sandbox(StateDirectory(path.name, home=home.parents[1])).name)
    return tuple(found)


class Sandbox:
    """A running sandbox. The constructor raises NotRunning."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self.name = state.name
        with _connect(state) as sock:
            # struct ucred: pid, uid and gid of whoever called listen(), as seen from our PID namespace
            self.pid: int = struct.unpack("iii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def status(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/status")

    def shape(self) -> Shape:
        return msgspec.convert(self.status()["shape"], Shape)

    def subnets(self) -> tuple[Subnet, ...]:
        return plan(self.shape()).subnets

    def holders(self, *, since: float = 0.0) -> dict[str, Any]:
        return self._ask("GET", f"/v1/holders?since={since}")

    def terminate(self, pod: str, *, how: str = "TERM", grace: float = 30.0) -> bool:
        """Signal a pod's program and keep it down; False if it was down. What SIGTERM has not ended after `grace`, SIGKILL does."""
        return bool(self._ask("POST", f"/v1/pods/{pod}/terminate?signal={how}&grace={grace}")["was_running"])

    def rotate_token(self, pod: str) -> None:
        """Put a new token where the pod's program finds it; the old one is worth nothing from then on."""
        self._ask("POST", f"/v1/pods/{pod}/rotate-token")

    def release(self, pod: str) -> None:
        self._ask("POST", f"/v1/pods/{pod}/release")

    def order(self, order: Order) -> list[dict[str, Any]]:
        """Break or mend; returns when it is done, with the faults in force then. Raises Refused."""
        faults: list[dict[str, Any]] = self._ask("POST", "/v1/breakage", order)["faults"]
        return faults

    def add_fault(self, rule: Rule) -> int:
        """Have the API server misbehave; the answer is the rule's number."""
        return int(self._ask("POST", "/v1/faults", rule)["number"])

    def tell_probe(self, result: ProbeResult) -> None:
        """What a probe has counted so far, for `status`."""
        self._ask("POST", "/v1/probes", result)

    def faults(self) -> list[dict[str, Any]]:
        """The API server's rules in force."""
        faults: list[dict[str, Any]] = self._ask("GET", "/v1/faults")["faults"]
        return faults

    def remove_faults(self, number: str = "") -> list[int]:
        """Remove one rule, or all; the numbers of those removed."""
        removed: list[int] = self._ask("DELETE", f"/v1/faults/{number}" if number else "/v1/faults")["removed"]
        return removed

    def end(self) -> None:
        """End it, and return when it is gone."""
        with pidfd(self.pid) as descriptor:
            end_process(descriptor)

    @contextmanager
    def entrance(self, room: str) -> Iterator[Entrance]:
        """How to start a program in a room of the sandbox, `hub` being where the supervisor lives. Raises Refused for a room it has not."""
        networks: dict[str, int] = self.status()["networks"]
        if room != "hub" and room not in networks:
            raise Refused(f"no room {room!r}: there are hub, {', '.join(networks)}")
        with pidfd(self.pid) as descriptor:
            yield Entrance(descriptor, room, networks.get(room))

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = _Connection(self._state)
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, ValueError) as error:
            raise NotRunning(f"sandbox {self._state.name!r} stopped answering: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise Refused(answer["error"])
        return answer


class Entrance:
    """The way into one room: `argv` with `descriptors` inherited runs a program there."""

    def __init__(self, supervisor: int, room: str, network: int | None) -> None:
        self.descriptors = (supervisor,)
        self._room = room
        self._network = network

    def argv(self, command: Sequence[str]) -> list[str]:
        request = {
            "supervisor": self.descriptors[0],
            "network": self._network,
            "hostname": self._room,
            "argv": list(command),
        }
        return [sys.executable, "-m", "purelb.sandbox.rig.enter", "visit", json.dumps(request)]


@contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """A descriptor of a process. Raises NotRunning if there is none any more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise NotRunning("the sandbox has just ended") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def end_process(descriptor: int) -> None:
    """Kill the process behind the pidfd and wait until it is gone, its entry in the process table too if we are its parent."""
    with suppress(ProcessLookupError):  # it was faster
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    if not select.select([descriptor], [], [], END_LIMIT_S)[0]:
        raise Unusable(
            f"the sandbox is killed and has not ended after {END_LIMIT_S:g} s: who visits it (`exec`) must leave"
        )
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
