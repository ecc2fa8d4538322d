# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox ...`: what a person types.

Every command finds its sandbox by `--name` and by nothing else: KUBECONFIG and the current context are never read, so no other cluster can be meant by
mistake. Options that the specification names and that are not built yet are refused with what to use instead, never ignored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox import breaking, visits
from purelb.sandbox.cluster import leftovers
from purelb.sandbox.cluster.launch import StartFailed, start
from purelb.sandbox.cluster.manifests import NoManifest, NotApplied, apply, read
from purelb.sandbox.cluster.reach import NotRunning, Refused, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.cluster.state import BadName, StateDirectory, Unusable
from purelb.sandbox.rig import doctor
from purelb.sandbox.rig.topology import NODES_MAX
from purelb.sandbox.screen import Screen, program
from purelb.sandbox.starting import choose_proxy, tell_what_is_missing, unready

if TYPE_CHECKING:
    from purelb.sandbox.cluster.manifests import Manifest

READY_LIMIT_S: Final = 60.0
NODES: Final = 3
# Options that the sandbox will have, what they may say until then, and why.
ONLY: Final = {
    "--subnets": ("1", "the router between subnets is not built yet; use nodes of one subnet"),
    "--family": ("dual", "nodes have both; a Service's ipFamilies and ipFamilyPolicy choose one"),
    "--router": ("none", "routed addresses are not built yet; addresses on the LAN are announced by ARP and NDP"),
}
STEPS: Final = {
    "namespaces": "nodes and client are there",
    "api": "the API server answers",
    "nodes": "kinds are installed, nodes have joined",
    "started": "every program is started",
    "ready": "allocator, agents and backends are ready",
}


class SandboxCommand:
    name = "sandbox"
    help = "A whole cluster on this machine: nodes are network namespaces, nothing of the host is touched."
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = "commands:\n" + "\n".join(f"  {word:<12} {text}" for word, (text, _, _) in WORDS.items())
        parser.add_argument("--name", default="default", help="which sandbox (default: default)")
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
        except (Unusable, NotRunning) as error:
            print(f"purelb sandbox {words[0]}: {error}", file=sys.stderr)
            return CANNOT_WORK_HERE


# up and down


def _configure_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, help=f"1 to {NODES_MAX} (default: {NODES})")
    parser.add_argument(
        "--proxy",
        choices=("auto", "nft", "user"),
        help="what serves the addresses (default: auto, nft if it works)",
    )
    parser.add_argument("--apply", type=Path, metavar="DIR", help="then create or merge the manifests of a directory")
    for option, (only, why) in ONLY.items():
        parser.add_argument(option, default=only, help=f"only {only} so far: {why}")


def _up(state: StateDirectory, arguments: argparse.Namespace) -> int:
    screen = Screen()
    if leftovers.is_name_of_a_demo(state.name):
        raise Refused(f"--name {state.name}: a demo with this process number would take it; choose another name")
    for option, (only, why) in ONLY.items():
        if (said := getattr(arguments, option.removeprefix("--"))) != only:
            raise Refused(f"{option} {said}: only {only} so far: {why}")
    manifests = () if arguments.apply is None else _read(arguments.apply)
    nodes = NODES if arguments.nodes is None else arguments.nodes
    if not 1 <= nodes <= NODES_MAX:
        raise Refused(f"--nodes {nodes}: 1 to {NODES_MAX}")
    try:
        running = Sandbox(state)
    except NotRunning:
        pass
    else:
        status = running.status()
        _refuse_another_shape(state, status, arguments)
        screen.say(f"sandbox {state.name} is up (nodes: {len(status['nodes'])}, process {running.pid})")
        return _wait_until_ready(screen, state, manifests)
    findings = doctor.examine()
    if not tell_what_is_missing(findings):
        return CANNOT_WORK_HERE
    with start(state, nodes=nodes, proxy=choose_proxy(arguments.proxy or "auto", findings)) as starting:
        try:
            for step in starting.steps(limit_s=READY_LIMIT_S):
                screen.done(STEPS[step.name], seconds=step.seconds)
        except StartFailed as failure:
            print(f"purelb sandbox up: {failure}", file=sys.stderr)
            return ANSWER_IS_NO
        except TimeoutError:
            starting.let_live()
            print(
                f"purelb sandbox up: not ready after {READY_LIMIT_S:g} s; it is left running to be looked at:",
                file=sys.stderr,
            )
            print("\n".join(unready(state)), file=sys.stderr)
            return ANSWER_IS_NO
        starting.let_live()
    return _finish(screen, state, manifests)


def _read(directory: Path) -> tuple[Manifest, ...]:
    try:
        return read(directory)
    except NoManifest as error:
        raise Refused(f"--apply: {error}") from error


def _finish(screen: Screen, state: StateDirectory, manifests: tuple[Manifest, ...]) -> int:
    """Apply what was asked for to the sandbox that is ready, and say what can be done with it."""
    if manifests:
        try:
            with screen.step(f"manifests are applied: {len(manifests)}"):
                asyncio.run(_apply(state, manifests))
        except NotApplied as error:
            print(f"purelb sandbox up: the sandbox is left running, but {error}", file=sys.stderr)
            return ANSWER_IS_NO
    _next(screen, state)
    return DONE


async def _apply(state: StateDirectory, manifests: tuple[Manifest, ...]) -> None:
    async with ApiClient(
        admin_access(state.kubeconfig.read_bytes()), user_agent="purelb-sandbox", clock=SystemClock()
    ) as client:
        await apply(client, manifests)


def _refuse_another_shape(state: StateDirectory, status: dict[str, Any], arguments: argparse.Namespace) -> None:
    """A running sandbox keeps the shape it was started with. Raises Refused if another one is asked for."""
    runs = {"--nodes": len(status["nodes"]), "--proxy": status["proxy"]}
    asked = {"--nodes": arguments.nodes, "--proxy": arguments.proxy}
    other = [f"{option} {asked[option]}" for option in runs if asked[option] not in {None, "auto", runs[option]}]
    if other:
        shape = " ".join(f"{option} {value}" for option, value in runs.items())
        raise Refused(
            f"sandbox {state.name} runs with {shape}, and keeps them; {' '.join(other)} needs "
            f"`{program(state.name)} down` first"
        )


def _wait_until_ready(screen: Screen, state: StateDirectory, manifests: tuple[Manifest, ...]) -> int:
    """For a sandbox that somebody else started, maybe a moment ago."""
    deadline = time.monotonic() + READY_LIMIT_S
    while waiting := unready(state):
        if time.monotonic() > deadline:
            print(f"not ready after {READY_LIMIT_S:g} s:\n" + "\n".join(waiting), file=sys.stderr)
            return ANSWER_IS_NO
        time.sleep(0.2)
    return _finish(screen, state, manifests)


def _next(screen: Screen, state: StateDirectory) -> None:
    call = program(state.name)
    screen.say()
    screen.say(f"kubeconfig: {state.kubeconfig}")
    screen.say("next:")
    screen.say(f"  {call} kubectl get nodes,pods -A")
    screen.say(f"  {call} status")
    screen.say(f"  {call} down")


def _down(state: StateDirectory, _: argparse.Namespace) -> int:
    try:
        Sandbox(state).end()
    except NotRunning:
        print(f"sandbox {state.name} is not running")
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
    "up": ("start it and wait until it is ready; says so if it runs already", _configure_up, _up),
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
