# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox ...`: what a person types.

Every command finds its sandbox by `--name` and by nothing else: KUBECONFIG and the current context are never read, so no other cluster can be meant by
mistake.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from purelb.process.command import BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox import breaking, up, visits
from purelb.sandbox.cluster import leftovers
from purelb.sandbox.cluster.reach import NotRunning, Refused, Sandbox, running
from purelb.sandbox.cluster.state import DEFAULT, BadName, StateDirectory, Unusable
from purelb.sandbox.rig import doctor


class SandboxCommand:
    name = "sandbox"
    help = "A whole cluster on this machine: nodes are network namespaces, nothing of the host is touched."
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = "commands:\n" + "\n".join(f"  {word:<12} {text}" for word, (text, _, _) in WORDS.items())
        parser.add_argument("--name", default=DEFAULT, help="which sandbox (default: %(default)s)")
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...")

    def run(self, arguments: argparse.Namespace) -> int:
        words: list[str] = arguments.words
        if not words or words[0] not in WORDS:
            known = ", ".join(WORDS)
            print(f"purelb sandbox: say one of {known}" + (f"; not {words[0]}" if words else ""), file=sys.stderr)
            return BAD_USAGE
        text, configure, act = WORDS[words[0]]
        rest = words[1:]
        try:
            if configure is None:
                return act(StateDirectory(arguments.name), rest)
            parser = argparse.ArgumentParser(
                prog=f"purelb sandbox {words[0]}",
                description=text,
                allow_abbrev=False,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            parser.add_argument("--name", default=arguments.name, help="which sandbox (default: %(default)s)")
            configure(parser)
            parsed = parser.parse_args(rest)
            return act(StateDirectory(parsed.name or _demo_name(keep=parsed.keep)), parsed)
        except (Refused, BadName) as error:
            print(f"purelb sandbox {words[0]}: {error}", file=sys.stderr)
            return BAD_USAGE
        except NotRunning as error:
            print(f"purelb sandbox {words[0]}: {error}{_others()}", file=sys.stderr)
            return CANNOT_WORK_HERE
        except Unusable as error:
            print(f"purelb sandbox {words[0]}: {error}", file=sys.stderr)
            return CANNOT_WORK_HERE


def _others() -> str:
    """What runs under other names: one may be meant."""
    names = running(StateDirectory(DEFAULT).path.parent)
    return f"; running: {', '.join(names)} (choose with --name)" if names else ""


# down, and can it run here


def _down(state: StateDirectory, _: argparse.Namespace) -> int:
    try:
        Sandbox(state).end()
    except NotRunning:
        print(f"sandbox {state.name} is not running{_others()}")
    else:
        print(f"sandbox {state.name} is gone; its logs are in {state.logs}")
    state.socket.unlink(missing_ok=True)
    state.kubeconfig.unlink(missing_ok=True)
    for name in leftovers.remove(state.path.parent):
        print(f"removed what the killed {name} had left")
    return DONE


def _configure_nothing(_: argparse.ArgumentParser) -> None:
    """Takes --name only."""


def _doctor(_: StateDirectory, __: argparse.Namespace) -> int:
    findings = doctor.examine()
    for finding in findings:
        mark = "ok  " if finding.good else ("NO  " if finding.needed else "warn")
        print(f"{mark} {finding.what:<11} {finding.text}" + ("" if finding.good else f"; remedy: {finding.remedy}"))
    return CANNOT_WORK_HERE if doctor.blocking(findings) else DONE


# demo and measures


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--proxy", choices=("auto", "nft", "user"), default="auto", help="what serves the addresses")
    parser.set_defaults(name="")


def _demo_name(*, keep: bool) -> str:
    """A demo has a sandbox of its own, so that two can run at once; one that is kept has a name one can type."""
    return "demo" if keep else leftovers.name_of(os.getpid())


def _demo(state: StateDirectory, arguments: argparse.Namespace) -> int:
    from purelb.sandbox.demo import demo

    with suppress(NotRunning):
        raise Unusable(
            f"sandbox {state.name} is running (process {Sandbox(state).pid}): end it with `purelb sandbox --name {state.name} down`"
        )
    return demo(state, keep=arguments.keep, proxy=arguments.proxy)


def _bench(_: StateDirectory, words: list[str]) -> int:
    from purelb.sandbox.bench import command as bench

    parser = argparse.ArgumentParser(prog="purelb sandbox bench", allow_abbrev=False)
    bench.configure(parser)
    return bench.run(parser.parse_args(words))


Act = Callable[[StateDirectory, Any], int]
WORDS: Final[dict[str, tuple[str, Callable[[argparse.ArgumentParser], None] | None, Act]]] = {
    "up": ("start it and wait until it is ready; says so if it runs already", up.configure, up.up),
    "down": ("end it; its logs stay", _configure_nothing, _down),
    "status": ("nodes, pods, Services and who holds their addresses", visits.configure_status, visits.status),
    "kubectl": ("kubectl with the sandbox's kubeconfig", None, visits.kubectl),
    "exec": ("run a program on a node, in the client or in a pod: exec n1 -- ip addr", None, visits.execute),
    "logs": ("what a pod's program wrote", visits.configure_logs, visits.logs),
    "probe": ("ask an address from the client, a line a second", visits.configure_probe, visits.probe),
    "port-forward": ("a loopback port of this machine, led to a pod's", visits.configure_forward, visits.forward),
    "kill-node": ("take a node's power, or kill or freeze its agent", breaking.configure_kill, breaking.kill_node),
    "start-node": ("undo kill-node", breaking.configure_node, breaking.start_node),
    "drain": ("have a node give its addresses away, as planned", breaking.configure_drain, breaking.drain),
    "partition": ("cut a node from a network or from another node", breaking.configure_partition, breaking.partition),
    "heal": ("remove every fault, of one node or all", breaking.configure_heal, breaking.heal),
    "fault": ("have the API server misbehave: fault add answer code=503", breaking.configure_fault, breaking.fault),
    "demo": ("three nodes, three Services, a hand-over, in a minute", _configure_demo, _demo),
    "bench": ("measure the components against the API server of a kubeconfig", None, _bench),
    "doctor": ("can a sandbox run here, and what is missing", _configure_nothing, _doctor),
}

command = SandboxCommand()
