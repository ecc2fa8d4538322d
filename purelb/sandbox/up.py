# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox up`: from a shape that was asked for to a sandbox that is ready, has pools and says what can be done with it.

A running sandbox keeps its shape; asking for another one is refused. What the options would mean together is judged before anything begins. A sandbox
without a ServiceGroup gets one with every subnet's pools, so that the first Service a person makes gets an address; whoever brings groups of their own
with `--apply` is left alone. Options that the specification names and that are not built yet are refused with what to use instead, never ignored.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError
from purelb.process.command import ANSWER_IS_NO, CANNOT_WORK_HERE, DONE
from purelb.sandbox.cluster import leftovers
from purelb.sandbox.cluster.kubelet import put
from purelb.sandbox.cluster.launch import StartFailed, start
from purelb.sandbox.cluster.manifests import NoManifest, NotApplied, apply, read
from purelb.sandbox.cluster.objects import service_group
from purelb.sandbox.cluster.reach import NotRunning, Refused, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.rig import doctor
from purelb.sandbox.rig.topology import NODES_MAX, VERSIONS, Shape, problem
from purelb.sandbox.screen import Screen, program
from purelb.sandbox.starting import choose_proxy, tell_what_is_missing, unready

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from purelb.sandbox.cluster.manifests import Manifest
    from purelb.sandbox.cluster.state import StateDirectory

READY_LIMIT_S: Final = 60.0
# Options that the sandbox will have, what they may say until then, and why.
ONLY: Final = {
    "--router": ("none", "routed addresses are not built yet; addresses on the LAN are announced by ARP and NDP"),
}
STEPS: Final = {
    "namespaces": "nodes and client are there",
    "api": "the API server answers",
    "nodes": "kinds are installed, nodes have joined",
    "started": "every program is started",
    "ready": "allocator, agents and backends are ready",
}


def configure(parser: argparse.ArgumentParser) -> None:
    usual = Shape()
    parser.add_argument("--nodes", type=int, help=f"1 to {NODES_MAX} (default: {usual.nodes})")
    parser.add_argument("--subnets", type=int, help="LANs with a router between them, nodes in each (default: 1)")
    parser.add_argument(
        "--family", choices=tuple(VERSIONS), help=f"of nodes, pods and Services (default: {usual.family})"
    )
    parser.add_argument("--nics", type=int, help="2: nodes have eth1 in the next subnet (default: 1)")
    parser.add_argument("--single-nic", action="store_true", default=None, help="nodes reach the API over the LAN")
    parser.add_argument(
        "--proxy",
        choices=("auto", "nft", "user"),
        help="what serves the addresses (default: auto, nft if it works)",
    )
    parser.add_argument("--apply", type=Path, metavar="DIR", help="then create or merge the manifests of a directory")
    for option, (only, why) in ONLY.items():
        parser.add_argument(option, default=only, help=f"only {only} so far: {why}")


def up(state: StateDirectory, arguments: argparse.Namespace) -> int:
    screen = Screen()
    if leftovers.is_name_of_a_demo(state.name):
        raise Refused(f"--name {state.name}: a demo with this process number would take it; choose another name")
    for option, (only, why) in ONLY.items():
        if (said := getattr(arguments, option.removeprefix("--"))) != only:
            raise Refused(f"{option} {said}: only {only} so far: {why}")
    manifests = () if arguments.apply is None else _read(arguments.apply)
    shape = Shape(**_asked(arguments))
    if (objection := problem(shape)) is not None:
        raise Refused(objection)
    try:
        running = Sandbox(state)
    except NotRunning:
        pass
    else:
        _refuse_another_shape(state, running, arguments)
        screen.say(f"sandbox {state.name} is up (nodes: {running.shape().nodes}, process {running.pid})")
        return _wait_until_ready(screen, state, manifests)
    findings = doctor.examine()
    if not tell_what_is_missing(findings):
        return CANNOT_WORK_HERE
    with start(state, shape=shape, proxy=choose_proxy(arguments.proxy or "auto", findings)) as starting:
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


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said about the shape, by the names it has in `Shape`."""
    said = ((name, getattr(arguments, name)) for name in Shape.__struct_fields__)
    return {name: value for name, value in said if value is not None}


def _read(directory: Path) -> tuple[Manifest, ...]:
    try:
        return read(directory)
    except NoManifest as error:
        raise Refused(f"--apply: {error}") from error


def _finish(screen: Screen, state: StateDirectory, manifests: tuple[Manifest, ...]) -> int:
    """Apply what was asked for to the sandbox that is ready, give it pools if nobody did, and say what can be done with it."""
    if manifests:
        try:
            with screen.step(f"manifests are applied: {len(manifests)}"):
                asyncio.run(_apply(state, manifests))
        except NotApplied as error:
            print(f"purelb sandbox up: the sandbox is left running, but {error}", file=sys.stderr)
            return ANSWER_IS_NO
    try:
        asyncio.run(_give_pools(screen, state))
    except KubeError as error:
        print(f"purelb sandbox up: the sandbox is left running, but has no ServiceGroup: {error}", file=sys.stderr)
        return ANSWER_IS_NO
    _next(screen, state)
    return DONE


async def _give_pools(screen: Screen, state: StateDirectory) -> None:
    """A ServiceGroup with every subnet's pools where there is no ServiceGroup yet, so that a Service gets an address at once."""
    subnets = Sandbox(state).subnets()
    async with _admin(state) as client:
        if (await client.list_page(SERVICE_GROUPS)).objects:
            return
        with screen.step("a ServiceGroup: the pools of every subnet") as line:
            await put(client, SERVICE_GROUPS, service_group(subnets))
            line.note = ", ".join(pool for subnet in subnets for pool in subnet.pools)


def _admin(state: StateDirectory) -> ApiClient:
    return ApiClient(admin_access(state.kubeconfig.read_bytes()), user_agent="purelb-sandbox", clock=SystemClock())


async def _apply(state: StateDirectory, manifests: tuple[Manifest, ...]) -> None:
    async with _admin(state) as client:
        await apply(client, manifests)


def _refuse_another_shape(state: StateDirectory, running: Sandbox, arguments: argparse.Namespace) -> None:
    """A running sandbox keeps the shape it was started with. Raises Refused if another one is asked for."""
    runs = {**msgspec.structs.asdict(running.shape()), "proxy": running.status()["proxy"]}
    asked = {**_asked(arguments), **({} if arguments.proxy in {None, "auto"} else {"proxy": arguments.proxy})}
    if other := {name: value for name, value in asked.items() if value != runs[name]}:
        raise Refused(
            f"sandbox {state.name} runs with {_options(runs)}, and keeps them; {_options(other)} needs "
            f"`{program(state.name)} down` first"
        )


def _options(values: Mapping[str, Any]) -> str:
    """As one types them; a switch that is off is not typed."""
    said = ((f"--{name.replace('_', '-')}", value) for name, value in values.items() if value is not False)
    return " ".join(option if value is True else f"{option} {value}" for option, value in said)


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
