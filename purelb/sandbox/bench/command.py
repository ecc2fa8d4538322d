# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox bench`: measure the runtime, and the components against the API server of a kubeconfig; results as JSON.

Some suites need nothing but this machine (`catalogue`). For the others the manifests of this checkout are applied there (CRDs, ServiceAccounts, RBAC), and the components run with the tokens of
their ServiceAccounts. It must be a server made for this: the benchmark deletes what it made, and it starts a node agent in
the network namespace it runs in, so it refuses one that has an address of its own network already.

A part that fails is said and makes the exit code 1; the others are measured and written down all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from purelb.api.kinds import LB_NODE_STATUSES
from purelb.api.leases import node_lease
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError, NotFound
from purelb.kube.resources import ENDPOINT_SLICES, LEASES
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox.bench import (
    announcing,
    api,
    deciding,
    failover,
    many,
    outages,
    peers,
    peers_announcing,
    peers_bursting,
    peers_resting,
    runtime,
    suites,
)
from purelb.sandbox.bench import scale as scaling
from purelb.sandbox.bench.catalogue import ALONE, SUITES
from purelb.sandbox.bench.comparing import compared, sentences
from purelb.sandbox.bench.components import INSTALL_NAMESPACE, account_directory
from purelb.sandbox.bench.keeping import COMMITTED, Gathering, committed
from purelb.sandbox.bench.report import page, table
from purelb.sandbox.bench.results import Row, decoded
from purelb.sandbox.bench.surroundings import began

if TYPE_CHECKING:
    from collections.abc import Collection

REPORT: Final = "report"
PEER: Final = peers.SUITE
# One of them with a peer is a comparison in all of them: half of a suite would take the place of a whole one in the results.
COMPARED: Final = frozenset({"allocate", "announce", "steady"})
CROWD: Final = 10_000
SINGLES: Final = 100
MANIFESTS: Final = (
    "crds",
    "deploy/overlays/default/namespace.yaml",
    "deploy/base/serviceaccounts.yaml",
    "deploy/base/rbac.yaml",
)


class Part(Struct, frozen=True, kw_only=True):
    """A step of the benchmark: the suites that its rows may belong to, and how it is called when it is talked about."""

    suites: tuple[str, ...]
    name: str
    measure: Callable[[], Awaitable[list[Row]]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    names = ", ".join(SUITES)
    parser.add_argument(
        "suite",
        nargs="*",
        metavar="SUITE",
        help=f"of {names}; default: all, {PEER} only with --peer. `{REPORT} [FILE]` prints the page of the manual instead",
    )
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="an API server made for this")
    usual = ", ".join(f"{kind.name} {kind.trials}" for kind in outages.KINDS)
    parser.add_argument(
        "--trials",
        type=counted,
        help=f"Services of each single-Service measurement (default: {SINGLES}), outages of each kind of {outages.SUITE} "
        f"(default: {usual})",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=named,
        metavar="NAME=KUBECONFIG",
        help="compare with the load balancer that runs on another cluster of this machine; may be repeated",
    )
    for process, adds in (("allocator", "; bursts of waiting Services are compared as well"), ("agent", "")):
        parser.add_argument(
            f"--peer-{process}",
            action="append",
            default=[],
            type=named,
            metavar="NAME=COMMAND",
            help=f"the command that runs the {process} of that peer, which is then started for each of its turns{adds}",
        )
    parser.add_argument(
        "--kube-proxy",
        type=Path,
        metavar="PATH",
        help="the binary that serves the addresses where the first HTTP answer is measured; hack/bench gives it",
    )
    parser.add_argument(
        "--kube-controller-manager",
        type=Path,
        metavar="PATH",
        help="the binary beside which one Service is measured once more; hack/bench gives it",
    )
    parser.add_argument("--crowd", type=int, default=CROWD, help="Services that there are already when many are")
    parser.add_argument("--out", default=COMMITTED, help="where the results go; other suites in it stay")


def counted(text: str) -> int:
    """A number of trials."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of trials: 1 or more")
    return int(text)


def named(text: str) -> tuple[str, str]:
    """A peer, by its name in the results, and what is said of it: the kubeconfig of its cluster, or a command."""
    name, _, said = text.partition("=")
    if not name or not said:
        raise argparse.ArgumentTypeError(f"{text} is not the name of a peer, = and what is said of it")
    if name == peers.OURS:
        raise argparse.ArgumentTypeError(f"{name} is the one that is compared: give the peer another name")
    return name, said


def run(arguments: argparse.Namespace) -> int:
    """Measure; 1 when a budget was missed or a part failed."""
    if arguments.suite[:1] == [REPORT]:
        return _report(arguments.suite[1:])
    if unknown := set(arguments.suite) - set(SUITES):
        print(f"{', '.join(sorted(unknown))}: not a suite; there are {', '.join(SUITES)}", file=sys.stderr)
        return BAD_USAGE
    wanted = _wanted(arguments)
    if PEER in wanted and not arguments.peer:
        print(f"the suite {PEER} needs --peer NAME=KUBECONFIG", file=sys.stderr)
        return BAD_USAGE
    if strangers := {name for name, _ in arguments.peer_allocator + arguments.peer_agent} - dict(arguments.peer).keys():
        print(
            f"{', '.join(sorted(strangers))}: a command of a peer that has no --peer NAME=KUBECONFIG", file=sys.stderr
        )
        return BAD_USAGE
    if arguments.peer and outages.SUITE in arguments.suite:
        print(
            f"--peer does not go with {outages.SUITE}: its outages need nodes whose power, links and agents are ours to take, "
            f"and no other cluster's are; peers are compared in {', '.join(sorted(COMPARED))}",
            file=sys.stderr,
        )
        return BAD_USAGE
    elsewhere = wanted - set(ALONE)
    if elsewhere and (refused := _unable(arguments)) is not None:
        return refused
    try:
        gathering = Gathering(Path(arguments.out), began())
    except msgspec.MsgspecError as error:
        print(f"{arguments.out} is not a file of results: {error}; move it away or give another --out", file=sys.stderr)
        return CANNOT_WORK_HERE
    for name, what, measure in _alone(arguments):
        if name in wanted:
            try:
                gathering.add(measure())
            except Exception as error:  # noqa: BLE001  one suite is fenced off from the others here
                _failed(gathering, (name,), what, error)
    if elsewhere:
        try:
            asyncio.run(_measure(arguments, gathering, wanted=elsewhere))
        except Exception as error:  # noqa: BLE001  what was measured before is still to be told
            _failed(gathering, sorted(elsewhere), "the suites that need a server", error)
    return _told(gathering)


def _alone(arguments: argparse.Namespace) -> list[tuple[str, str, Callable[[], list[Row]]]]:
    """What needs nothing but this machine: suite, its name when it is talked about, and how it is measured."""
    return [
        ("runtime", "runtime", runtime.measure),
        ("api", "api", api.measure),
        (deciding.SUITE, deciding.SUITE, deciding.measure),
        *((outages.SUITE, name, measure) for name, measure in failover.measures(arguments.trials)),
    ]


def _wanted(arguments: argparse.Namespace) -> set[str]:
    """The suites to measure; peers are compared with whenever what they are compared in is measured and there are any."""
    wanted = set(arguments.suite or [name for name in SUITES if name != PEER])
    return wanted | {PEER} if arguments.peer and wanted & COMPARED else wanted


def _report(files: list[str]) -> int:
    if len(files) > 1:
        print(f"{REPORT} takes one file of results", file=sys.stderr)
        return BAD_USAGE
    file = Path(files[0] if files else COMMITTED)
    try:
        results = decoded(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        print(f"{file} cannot be read as results: {error}", file=sys.stderr)
        return CANNOT_WORK_HERE
    print(page(results), end="")
    return DONE


def _failed(gathering: Gathering, suites: Collection[str], what: str, error: Exception) -> None:
    """Say it at once, and keep it for the end."""
    traceback.print_exception(error, file=sys.stderr)
    gathering.failed(suites, f"{what} failed: {type(error).__name__}: {error}")


def _told(gathering: Gathering) -> int:
    """The table of this run and what is wrong with it, as the exit code."""
    measured = gathering.measured()
    print(table(measured))
    for said in sentences(compared(committed(), gathering.earlier, measured), measured):
        print(said, file=sys.stderr)
    missed = [found for found in measured.rows if found.ok is False]
    for found in missed:
        print(f"budget missed: {found.suite}: {found.case}", file=sys.stderr)
    for suite, failures in gathering.failures.items():
        for why in failures:
            print(f"not complete: {suite}: {why}", file=sys.stderr)
    return ANSWER_IS_NO if missed or gathering.failures else DONE


def _unable(arguments: argparse.Namespace) -> int | None:
    """Why the suites that need an API server cannot run here, as an exit code; None if they can."""
    if not arguments.kubeconfig:
        print("purelb sandbox bench needs --kubeconfig of a server made for it; make bench starts one", file=sys.stderr)
        return BAD_USAGE
    for tool in ("kubectl", "ip"):
        if shutil.which(tool) is None:
            print(f"purelb sandbox bench needs {tool} on PATH", file=sys.stderr)
            return CANNOT_WORK_HERE
    if os.geteuid() != 0 or not Path("crds").is_dir():
        print("purelb sandbox bench runs as root in a checkout of this repository", file=sys.stderr)
        return CANNOT_WORK_HERE
    return None


async def _measure(arguments: argparse.Namespace, gathering: Gathering, *, wanted: set[str]) -> None:
    """The suites on the server of the kubeconfig, part by part."""
    manifests = [part for name in MANIFESTS for part in ("-f", name)]
    kubectl = ["kubectl", f"--kubeconfig={arguments.kubeconfig}"]
    subprocess.run([*kubectl, "apply", *manifests], check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221  nothing else runs yet
    access = await load_access(kubeconfig=arguments.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="purelb-bench-") as name:
        directory = Path(name)
        async with ApiClient(access, user_agent="purelb-bench", clock=SystemClock()) as client:
            stage = await _stage(client, access.server, access.tls.ca_pem or b"", directory)
            version = json.loads((await client.raw("GET", "/version")).body)["gitVersion"]
            gathering.version("kube-apiserver", version)
            await suites.prepare(stage)
            await _measured(_parts(stage, arguments), client, gathering, wanted=wanted)


async def _measured(parts: list[Part], client: ApiClient, gathering: Gathering, *, wanted: set[str]) -> None:
    """Each part that has a wanted suite; rows of other suites are dropped, or half a suite would replace a whole one."""
    for part in parts:
        if wanted.isdisjoint(part.suites):
            continue
        print(f"measuring {part.name} ...", file=sys.stderr, flush=True)
        try:
            rows = await part.measure()
        except Exception as error:  # noqa: BLE001  one part is fenced off from the others here
            _failed(gathering, wanted.intersection(part.suites), part.name, error)
            await _cleared(client)
        else:
            gathering.add(found for found in rows if found.suite in wanted)


async def _stage(client: ApiClient, server: str, ca_pem: bytes, directory: Path) -> suites.Stage:
    tokens = {account: await _token(client, account) for account in ("allocator", "lbnodeagent")}
    return suites.Stage(
        client=client,
        server=server,
        ca=ca_pem.decode(),
        bare_token=tokens["allocator"],
        accounts={
            account: account_directory(directory / account, token=token, ca_pem=ca_pem, namespace=INSTALL_NAMESPACE)
            for account, token in tokens.items()
        },
        logs=directory,
    )


async def _cleared(client: ApiClient) -> None:
    """Remove what a part that failed left, which the next ones would measure too."""
    try:
        for namespace in (suites.NAMESPACE, many.CROWD, peers.NAMESPACE):
            await suites.emptied(client, namespace)
            with suppress(NotFound):
                await client.raw("DELETE", ENDPOINT_SLICES.path(namespace))
        for node in many.NODES:
            with suppress(NotFound):
                await client.delete(LEASES, node_lease(node), namespace=INSTALL_NAMESPACE)
            with suppress(NotFound):
                await client.delete(LB_NODE_STATUSES, node, namespace=INSTALL_NAMESPACE)
    except KubeError as error:
        print(f"what it left could not be removed: {error}", file=sys.stderr)


def _parts(stage: suites.Stage, arguments: argparse.Namespace) -> list[Part]:
    """In the order they are measured; the one with the most objects last."""
    trials = arguments.trials or SINGLES

    async def alone() -> list[Row]:
        return await suites.alone(stage, trials=trials)

    async def beside() -> list[Row]:
        binary = arguments.kube_controller_manager
        return await suites.beside(stage, binary=binary, kubeconfig=arguments.kubeconfig, trials=trials)

    async def single() -> list[Row]:
        return await announcing.single(stage, trials=trials)

    async def answered() -> list[Row]:
        return await announcing.answered(
            stage, proxy=arguments.kube_proxy, kubeconfig=arguments.kubeconfig, trials=trials
        )

    async def crowd() -> list[Row]:
        return await many.crowd(stage, services=arguments.crowd)

    async def compared_with(measure: Callable[[list[peers.Peer]], Awaitable[list[Row]]]) -> list[Row]:
        async with AsyncExitStack() as stack:
            others = []
            allocators, agents = dict(arguments.peer_allocator), dict(arguments.peer_agent)
            for name, path in arguments.peer:
                client = ApiClient(await load_access(kubeconfig=path), user_agent="purelb-bench", clock=SystemClock())
                peer = peers.Peer(
                    name,
                    await stack.enter_async_context(client),
                    allocator=tuple(shlex.split(allocators.get(name, ""))),
                    agent=tuple(shlex.split(agents.get(name, ""))),
                )
                others.append(peer)
            return await measure(others)

    async def against() -> list[Row]:
        return await compared_with(lambda others: peers.against(stage, others, services=suites.BURST, singles=trials))

    async def waited() -> list[Row]:
        return await compared_with(lambda others: peers_bursting.bursts(stage, others, services=suites.BURST))

    async def announced() -> list[Row]:
        return await compared_with(lambda others: peers_announcing.announced(stage, others, singles=trials))

    async def rested() -> list[Row]:
        return await compared_with(lambda others: peers_resting.rested(stage, others))

    return [
        Part(suites=("allocate",), name="burst", measure=lambda: suites.burst(stage)),
        Part(suites=("allocate",), name="arriving", measure=lambda: suites.arriving(stage)),
        Part(suites=("allocate",), name="alone", measure=alone),
        Part(suites=("allocate",), name="beside", measure=beside),
        Part(suites=(announcing.SUITE,), name="single", measure=single),
        Part(suites=(announcing.SUITE,), name="answered", measure=answered),
        Part(suites=("allocate",), name="dying", measure=lambda: many.dying(stage)),
        Part(suites=("announce", "steady"), name="steady", measure=lambda: suites.steady(stage)),
        Part(suites=("allocate", "steady"), name="crowd", measure=crowd),
        Part(suites=(PEER,), name="peers", measure=against),
        Part(suites=(PEER,), name="peers, bursts", measure=waited),
        Part(suites=(PEER,), name="peers, announcing", measure=announced),
        Part(suites=(PEER,), name="peers, at rest", measure=rested),
        Part(suites=(scaling.SUITE,), name="scale", measure=lambda: scaling.scale(stage)),
    ]


async def _token(client: ApiClient, account: str) -> str:
    path = f"/api/v1/namespaces/{INSTALL_NAMESPACE}/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer = await client.raw("POST", path, body=json.dumps(asked).encode(), headers=suites.JSON)
    return str(json.loads(answer.body)["status"]["token"])
