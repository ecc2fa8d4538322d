# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox bench`: measure the runtime, and the components against the API server of a kubeconfig; results as JSON.

The suites `runtime`, `api` and `decide` need nothing but this machine. For the others the manifests of this checkout are applied there (CRDs, ServiceAccounts, RBAC), and the components run with the tokens of
their ServiceAccounts. It must be a server made for this: the benchmark deletes what it made, and it starts a node agent in
the network namespace it runs in, so it refuses one that has an address of its own network already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox.bench import api, deciding, many, peers, runtime, suites
from purelb.sandbox.bench import scale as scaling
from purelb.sandbox.bench.components import INSTALL_NAMESPACE, account_directory
from purelb.sandbox.bench.results import Results, Row, machine, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ALONE: Final = ("runtime", "api", deciding.SUITE)
SUITES: Final = (*ALONE, "allocate", "announce", "steady", scaling.SUITE)
CROWD: Final = 10_000
MANIFESTS: Final = (
    "crds",
    "deploy/overlays/default/namespace.yaml",
    "deploy/base/serviceaccounts.yaml",
    "deploy/base/rbac.yaml",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="an API server made for this")
    parser.add_argument("--trials", type=int, default=100, help="Services of the single-Service measurements")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=named,
        metavar="NAME=KUBECONFIG",
        help="compare with the load balancer that runs on another cluster of this machine; may be repeated",
    )
    parser.add_argument("--crowd", type=int, default=CROWD, help="Services that there are already when many are")
    parser.add_argument("--out", default="bench/results.json", help="where the results go")


def named(text: str) -> tuple[str, str]:
    """A peer: its name in the results, and the kubeconfig of its cluster."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=KUBECONFIG")
    if name == peers.OURS:
        raise argparse.ArgumentTypeError(f"{name} is the one that is compared: give the peer another name")
    return name, path


def run(arguments: argparse.Namespace) -> int:
    """Measure; 1 when a budget was missed."""
    if unknown := set(arguments.suite) - set(SUITES):
        print(f"{', '.join(sorted(unknown))}: not a suite; there are {', '.join(SUITES)}", file=sys.stderr)
        return BAD_USAGE
    wanted = set(arguments.suite or SUITES)
    elsewhere = wanted - set(ALONE)
    if elsewhere and (refused := _unable(arguments)) is not None:
        return refused
    began = machine()
    rows = runtime.measure() if "runtime" in wanted else []
    rows += api.measure() if "api" in wanted else []
    rows += deciding.measure() if deciding.SUITE in wanted else []
    server = "no API server"
    if elsewhere:
        manifests = [part for name in MANIFESTS for part in ("-f", name)]
        kubectl = ["kubectl", f"--kubeconfig={arguments.kubeconfig}"]
        subprocess.run([*kubectl, "apply", *manifests], check=True, stdout=subprocess.DEVNULL)
        server, more = asyncio.run(_measure(arguments))
        rows += more
    results = Results(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=_revision(),
        server=server,
        python=platform.python_version(),
        machine=began,
        rows=tuple(rows),
    )
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    print(table(results))
    missed = [found for found in results.rows if found.ok is False]
    for found in missed:
        print(f"budget missed: {found.suite}: {found.case}", file=sys.stderr)
    return ANSWER_IS_NO if missed else DONE


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


async def _measure(arguments: argparse.Namespace) -> tuple[str, list[Row]]:
    """The server's name and what the suites found on it."""
    access = await load_access(kubeconfig=arguments.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="purelb-bench-") as name:
        directory = Path(name)
        async with ApiClient(access, user_agent="purelb-bench", clock=SystemClock()) as client:
            ca_pem = access.tls.ca_pem or b""
            tokens = {account: await _token(client, account) for account in ("allocator", "lbnodeagent")}
            stage = suites.Stage(
                client=client,
                server=access.server,
                ca=ca_pem.decode(),
                bare_token=tokens["allocator"],
                accounts={
                    account: account_directory(
                        directory / account, token=token, ca_pem=ca_pem, namespace=INSTALL_NAMESPACE
                    )
                    for account, token in tokens.items()
                },
                logs=directory,
            )
            version = json.loads((await client.raw("GET", "/version")).body)["gitVersion"]
            rows: list[Row] = []
            await suites.prepare(stage)
            for suite, part in _parts(stage, trials=arguments.trials, crowd_of=arguments.crowd):
                if not arguments.suite or suite in arguments.suite:
                    print(f"measuring {part.__name__} ...", file=sys.stderr, flush=True)
                    rows += await part()
            if arguments.peer and (not arguments.suite or "allocate" in arguments.suite):
                rows += await _compared(stage, arguments)
    return f"kube-apiserver {version}", rows


async def _compared(stage: suites.Stage, arguments: argparse.Namespace) -> list[Row]:
    """Against each peer, in turns."""
    async with AsyncExitStack() as stack:
        others = []
        for name, path in arguments.peer:
            print(f"measuring against {name} ...", file=sys.stderr, flush=True)
            access = await load_access(kubeconfig=path)
            client = ApiClient(access, user_agent="purelb-bench", clock=SystemClock())
            others.append(peers.Peer(name, await stack.enter_async_context(client)))
        return await peers.against(stage, others, services=suites.BURST, singles=arguments.trials)


def _parts(stage: suites.Stage, *, trials: int, crowd_of: int) -> list[tuple[str, Callable[[], Awaitable[list[Row]]]]]:
    async def burst() -> list[Row]:
        return await suites.burst(stage)

    async def arriving() -> list[Row]:
        return await suites.arriving(stage)

    async def alone() -> list[Row]:
        return await suites.alone(stage, trials=trials)

    async def single() -> list[Row]:
        return await suites.single(stage, trials=trials)

    async def steady() -> list[Row]:
        return await suites.steady(stage)

    async def dying() -> list[Row]:
        return await many.dying(stage)

    async def crowd() -> list[Row]:
        return await many.crowd(stage, services=crowd_of)

    async def scale() -> list[Row]:
        return await scaling.scale(stage)

    return [
        ("allocate", burst),
        ("allocate", arriving),
        ("allocate", alone),
        ("announce", single),
        ("allocate", dying),
        ("steady", steady),
        ("steady", crowd),
        (scaling.SUITE, scale),
    ]


async def _token(client: ApiClient, account: str) -> str:
    path = f"/api/v1/namespaces/{INSTALL_NAMESPACE}/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer = await client.raw("POST", path, body=json.dumps(asked).encode(), headers=suites.JSON)
    return str(json.loads(answer.body)["status"]["token"])


def _revision() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True)
    dirty = subprocess.run(["git", "diff", "--quiet", "HEAD"], check=False, capture_output=True).returncode
    return (asked.stdout.strip() or "unknown") + ("-dirty" if dirty else "")
