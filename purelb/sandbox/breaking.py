# SPDX-License-Identifier: Apache-2.0
"""The words of `purelb sandbox` that break something in a running sandbox, and those that mend it.

Each takes the state directory and its arguments and answers the exit code. What is broken is kept by the sandbox and shown by `status`; nothing of it is
remembered here. What cannot be done is refused by the sandbox with what can.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, get_args

from purelb.api.annotations import DRAIN
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError
from purelb.kube.resources import NODES
from purelb.process.command import DONE
from purelb.sandbox.cluster import breakage
from purelb.sandbox.cluster.fault_words import EFFECTS, MATCHES, NotARule, describe, from_json, from_words
from purelb.sandbox.cluster.reach import Refused, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.rig.cuts import NETWORKS, Carrier, Cut

if TYPE_CHECKING:
    import argparse

    from purelb.sandbox.apiserver.faults import Rule
    from purelb.sandbox.cluster.breakage import Order
    from purelb.sandbox.cluster.state import StateDirectory

DRAIN_LIMIT_S: Final = 5.0
NOTHING: Final = "nothing is broken"


def _do(state: StateDirectory, order: Order) -> int:
    told = Sandbox(state).order(order)
    print("\n".join(fault["what"] for fault in told) or NOTHING)
    return DONE


def configure_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node")


def configure_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node")
    parser.add_argument(
        "--how",
        choices=get_args(breakage.How),
        default="agent",
        help="power-off: it falls silent, its processes, links and addresses are gone; agent: SIGKILL of the agent, kept from "
        "restarting, the kernel keeps the addresses; freeze: SIGSTOP of the agent (default: %(default)s)",
    )


def kill_node(state: StateDirectory, arguments: argparse.Namespace) -> int:
    return _do(state, breakage.Kill(node=arguments.node, how=arguments.how))


def start_node(state: StateDirectory, arguments: argparse.Namespace) -> int:
    return _do(state, breakage.Start(node=arguments.node))


def configure_partition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node")
    parser.add_argument("--from", dest="away", required=True, help=f"a network ({', '.join(NETWORKS)}) or another node")
    parser.add_argument("--oneway", action="store_true", help="what the node sends is lost, and it still hears (nft)")
    parser.add_argument(
        "--carrier",
        choices=get_args(Carrier),
        default="keep",
        help="keep: nobody is told; down: the node sees a pulled cable (default: %(default)s)",
    )


def partition(state: StateDirectory, arguments: argparse.Namespace) -> int:
    return _do(
        state,
        Cut(node=arguments.node, away=arguments.away, oneway=arguments.oneway, carrier=arguments.carrier),
    )


def configure_heal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", help="only what hurts this node (default: everything, API faults included)")


def heal(state: StateDirectory, arguments: argparse.Namespace) -> int:
    return _do(state, breakage.Heal(node=arguments.node))


# Planned: the node says itself that it wants to be empty


def configure_drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node")
    parser.add_argument("--undo", action="store_true", help="let it hold addresses again")


def drain(state: StateDirectory, arguments: argparse.Namespace) -> int:
    sandbox = Sandbox(state)
    nodes = [node["name"] for node in sandbox.status()["nodes"]]
    if arguments.node not in nodes:
        raise Refused(f"no node {arguments.node!r}: there are {', '.join(nodes)}")
    note = None if arguments.undo else "true"
    asyncio.run(_annotate(state, arguments.node, {"metadata": {"annotations": {DRAIN: note}}}))
    print(
        f"{arguments.node} may hold addresses again"
        if arguments.undo
        else f"{arguments.node} gives its addresses away and takes none (annotation {DRAIN}); undo: drain {arguments.node} --undo"
    )
    return DONE


async def _annotate(state: StateDirectory, node: str, patch: dict[str, Any]) -> None:
    access = admin_access(state.kubeconfig.read_bytes())
    async with ApiClient(access, user_agent="purelb-sandbox-drain", clock=SystemClock()) as client:
        try:
            async with asyncio.timeout(DRAIN_LIMIT_S):
                await client.patch(NODES, node, patch, kind=PatchType.MERGE)
        except (KubeError, TimeoutError) as error:
            raise Refused(
                f"the API server did not take it: {str(error) or 'no answer'}; are faults in force?"
            ) from error


# The API server


def configure_fault(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"effects: {', '.join(EFFECTS)}\nmatches: {', '.join(MATCHES)} (subject, verb, resource and name are globs)\n"
        "examples:\n  fault add answer code=503 verb=update resource=leases.* count=3\n  fault add cut-stream after_frames=2\n"
        '  fault add \'{"effect": {"type": "Delay", "seconds": 2}, "subject": "*:lbnodeagent"}\'\n  fault clear'
    )
    parser.add_argument("what", choices=("add", "list", "clear"))
    parser.add_argument(
        "words", nargs="*", help="add: a rule, in words or JSON; clear: numbers of rules (default: all)"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def fault(state: StateDirectory, arguments: argparse.Namespace) -> int:
    words: list[str] = arguments.words
    if arguments.what == "add":
        rule = _rule(words)
        number = Sandbox(state).add_fault(rule)
        print(number if arguments.output == "json" else f"rule {number} is in force: {describe(rule)}")
        return DONE
    sandbox = Sandbox(state)
    if arguments.what == "clear":
        removed = (
            [number for word in words for number in sandbox.remove_faults(word)] if words else sandbox.remove_faults()
        )
        print(
            json.dumps(removed) if arguments.output == "json" else f"removed: {', '.join(map(str, removed)) or 'none'}"
        )
        return DONE
    if words:
        raise Refused(f"fault list takes nothing more, not {words[0]!r}")
    faults = sandbox.faults()
    if arguments.output == "json":
        print(json.dumps(faults, indent=2))
        return DONE
    print("\n".join(f"{one['number']}  {one['words']}  (fired {one['fired']} times)" for one in faults) or "no rules")
    return DONE


def _rule(words: list[str]) -> Rule:
    try:
        return from_json(" ".join(words).encode()) if words and words[0].startswith("{") else from_words(words)
    except NotARule as error:
        raise Refused(str(error)) from error
