# SPDX-License-Identifier: Apache-2.0
"""The words of `purelb sandbox` that look at a running sandbox or go into it; none of them changes it.

Each takes the state directory and its arguments and answers the exit code. `kubectl` and `exec` hand the terminal over.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from purelb.process.command import ANSWER_IS_NO, DONE
from purelb.sandbox.cluster.probes import result_of
from purelb.sandbox.cluster.reach import Refused, Sandbox
from purelb.sandbox.cluster.state import StateDirectory, Unusable
from purelb.sandbox.screen import Screen, milliseconds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

# What one process can send on two cores without measuring itself.
RATE_MAX: Final = 1000.0

# looking at one


def configure_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def status(state: StateDirectory, arguments: argparse.Namespace) -> int:
    status = Sandbox(state).status()
    if arguments.output == "json":
        print(json.dumps(status, indent=2))
        return DONE
    screen = Screen()
    nodes = [
        (node["name"], _several(node["subnets"]), ", ".join(node["addresses"]), _agent_of(status, node["name"]))
        for node in status["nodes"]
    ]
    screen.table(("NODE", "SUBNET", "ADDRESSES", "AGENT"), nodes, indent="")
    screen.say()
    pods = [
        (pod["namespace"], pod["name"], pod["node"], _state_of(pod), str(pod["restarts"])) for pod in status["pods"]
    ]
    screen.table(("NAMESPACE", "POD", "NODE", "STATE", "RESTARTS"), pods, indent="")
    screen.say()
    rows = [
        (service["namespace"], service["name"], address or "-", ",".join(service["ports"]), _holder_of(status, address))
        for service in status["services"]
        for address in service["addresses"] or [""]
    ]
    screen.table(("NAMESPACE", "SERVICE", "ADDRESS", "PORTS", "HOLDER (per kernel)"), rows, indent="")
    if status["probes"]:
        screen.say()
        screen.table(
            ("PROBED", "SENT", "LOST", "LAST GAP", "LONGEST GAP", "ANSWERED ON", "HEARD OF"),
            _probes_of(status),
            indent="",
        )
    broken = [fault["what"] for fault in status["faults"]]
    broken += [
        f"API rule {rule['number']}: {rule['words']} (fired {rule['fired']} times)" for rule in status["apiFaults"]
    ]
    if broken:
        screen.say()
        screen.table(("FAULTS IN FORCE",), [(line,) for line in broken], indent="")
    return DONE


def _probes_of(status: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"[{one['address']}]:{one['port']}" if ":" in one["address"] else f"{one['address']}:{one['port']}",
            str(one["sent"]),
            str(one["lost"]),
            milliseconds(one["lastGapSeconds"]) if one["lost"] else "-",
            milliseconds(one["longestGapSeconds"]) if one["lost"] else "-",
            one["node"] or "nobody",
            f"{one['secondsAgo']:.0f} s ago",
        )
        for one in status["probes"]
    ]


def _several(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _agent_of(status: dict[str, Any], node: str) -> str:
    found = [pod for pod in status["pods"] if pod["name"] == f"lbnodeagent-{node}"]
    return _state_of(found[0]) if found else "-"


def _state_of(pod: dict[str, Any]) -> str:
    if pod["ready"]:
        return "ready"
    if pod["held"] and not pod["running"]:
        return "kept down"
    return pod["reason"] or ("running" if pod["running"] else "down")


def _holder_of(status: dict[str, Any], address: str) -> str:
    holders = status["holders"].get(address, ())
    return ", ".join(f"{holder['node']} {holder['interface']}" for holder in holders) or "-"


# going in


def kubectl(state: StateDirectory, words: list[str]) -> int:
    Sandbox(state)
    if (kubectl := shutil.which("kubectl")) is None:
        raise Unusable("kubectl is not on PATH: install 1.27 or newer")
    return subprocess.call([kubectl, *words], env={**os.environ, "KUBECONFIG": str(state.kubeconfig)})


def execute(state: StateDirectory, words: list[str]) -> int:
    if len(words) < 2 or (words[1] == "--" and len(words) < 3):
        raise Refused("say where and what: exec n1 -- ip addr")
    return enter(Sandbox(state), words[0], words[2:] if words[1] == "--" else words[1:])


def enter(sandbox: Sandbox, room: str, command: Sequence[str]) -> int:
    """Run a program in a room of the sandbox, with our terminal; the answer is its exit code."""
    with sandbox.entrance(room) as entrance:
        return subprocess.call(entrance.argv(command), pass_fds=entrance.descriptors)


def configure_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", help="a pod of `status`, or `supervisor`")


def logs(state: StateDirectory, arguments: argparse.Namespace) -> int:
    known = {log.stem: log for log in sorted(state.logs.glob("*.log"))}
    if arguments.pod not in known:
        raise Refused(f"no log of {arguments.pod!r}; there are {', '.join(known) or 'none'}")
    sys.stdout.write(known[arguments.pod].read_text(encoding="utf-8", errors="replace"))
    return DONE


def configure_forward(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod")
    parser.add_argument("port", type=int, help="where the pod listens, on its loopback or on all addresses")


def forward(state: StateDirectory, arguments: argparse.Namespace) -> int:
    """A free loopback port of the host, relayed to the pod's 127.0.0.1 until interrupted."""
    sandbox = Sandbox(state)
    pods = {pod["name"]: pod for pod in sandbox.status()["pods"]}
    if (pod := pods.get(arguments.pod)) is None:
        raise Refused(f"no pod {arguments.pod!r}: there are {', '.join(pods)}")
    if not 1 <= arguments.port <= 65535:
        raise Refused(f"port {arguments.port}: 1 to 65535")
    with socket.create_server(("127.0.0.1", 0)) as listening, sandbox.entrance(pod["room"]) as entrance:
        relay = ["-m", "purelb.sandbox.rig.forward", str(listening.fileno()), str(arguments.port)]
        process = subprocess.Popen(
            entrance.argv([sys.executable, *relay]), pass_fds=(*entrance.descriptors, listening.fileno())
        )
        print(
            f"127.0.0.1:{listening.getsockname()[1]} is {pod['name']} port {arguments.port}; Ctrl-C ends it", flush=True
        )
    with process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return DONE
        finally:
            process.terminate()


def configure_probe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--rate", type=float, default=50.0, help="probes a second (default: 50)")
    parser.add_argument("--seconds", type=int, default=None, help="stop after so long (default: Ctrl-C)")


def _probed(arguments: argparse.Namespace) -> str:
    """The address to probe. Raises Refused naming what cannot be probed, or not so: it would count as lost for ever."""
    try:
        address = ip_address(arguments.address)
    except ValueError:
        raise Refused(f"{arguments.address!r} is not an IP address: take one that `status` shows") from None
    if not 1 <= arguments.port <= 65535:
        raise Refused(f"--port {arguments.port}: 1 to 65535")
    if not 0 < arguments.rate <= RATE_MAX:
        raise Refused(f"--rate {arguments.rate:g}: more than 0, at most {RATE_MAX:g} a second")
    if arguments.seconds is not None and arguments.seconds < 1:
        raise Refused(f"--seconds {arguments.seconds}: 1 or more")
    return str(address)


def probe(state: StateDirectory, arguments: argparse.Namespace) -> int:
    address = _probed(arguments)
    sandbox = Sandbox(state)
    with sandbox.entrance("client") as entrance:
        prober = ["-m", "purelb.sandbox.rig.prober", "--ticks", "--rate", str(arguments.rate), address]
        process = subprocess.Popen(
            entrance.argv([sys.executable, *prober, str(arguments.port)]),
            pass_fds=entrance.descriptors,
            stdout=subprocess.PIPE,
            text=True,
        )
    lost, seconds = 0, 0
    with process:
        try:
            for line in process.stdout or ():
                event = json.loads(line)
                if event["event"] == "tick":
                    lost, seconds = event["lost"], seconds + 1
                    where = ", ".join(event["nodes"][-1:]) or "nobody"
                    gap = event["longest_gap_s"] * 1000
                    print(
                        f"{event['sent']} sent, {lost} lost, longest gap {gap:.0f} ms, answered on {where}", flush=True
                    )
                    sandbox.tell_probe(result_of(event, address=address, port=arguments.port))
                if seconds == arguments.seconds:
                    break
        except KeyboardInterrupt:
            print()
        finally:
            process.terminate()
    return ANSWER_IS_NO if lost else DONE
