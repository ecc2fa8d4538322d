# SPDX-License-Identifier: Apache-2.0
"""What stands between a client and an answer: kube-proxy and a backend on the node, and the prober in the client's namespace.

kube-proxy is the real one of the control plane, in nftables mode. It may look at changes every 10 ms: with its default of a second
the figure would be its own and not that of the announcement, and that is what an installation of one's own adds. The backend listens on
the node itself, because there is no kubelet to run a Pod; kube-proxy does not know the difference.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from purelb.sandbox.bench.components import tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from purelb.sandbox.bench.cable import FarEnd

BACKEND_PORT: Final = 8080
PROBES_PER_SECOND: Final = 200
HEALTH: Final = "127.0.0.1:10256"
READY_WITHIN_S: Final = 30.0
ENDED_WITHIN_S: Final = 5.0


@asynccontextmanager
async def kube_proxy(binary: Path, *, kubeconfig: str, node: str, directory: Path) -> AsyncIterator[None]:
    """Run kube-proxy for `node` in this network namespace until the block ends; it serves when the block begins."""
    config = directory / "kube-proxy.json"
    config.write_text(json.dumps(configuration(kubeconfig=kubeconfig, node=node)))
    log = directory / "kube-proxy.log"
    async with running([str(binary), f"--config={config}"], log=log, env=os.environ):
        await asyncio.to_thread(_answering, f"{HEALTH}/healthz", log)
        yield


def configuration(*, kubeconfig: str, node: str) -> dict[str, object]:
    """What kube-proxy is told."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": "10.244.0.0/16,fd00:244::/56",
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": HEALTH,
        "metricsBindAddress": "127.0.0.1:10249",
        # Sizes of the conntrack table are the machine's, not a namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "10ms"},
    }


@asynccontextmanager
async def backend(node: str, *, log: Path) -> AsyncIterator[None]:
    """Run the echo backend in this network namespace until the block ends."""
    argv = [sys.executable, "-m", "purelb.sandbox.rig.echo", "--port", str(BACKEND_PORT)]
    async with running(argv, log=log, env={**os.environ, "POD_NAME": "backend", "NODE_NAME": node}):
        await asyncio.to_thread(_answering, f"127.0.0.1:{BACKEND_PORT}/", log)
        yield


class Asking:
    """The prober's process, one address at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def first_answer(self, name: str, address: str, port: int, *, within_s: float) -> float:
        """Ask until somebody answers; when that was, on CLOCK_MONOTONIC. Raises RuntimeError."""
        self._say(probe=name, address=address, port=port)
        try:
            async with asyncio.timeout(within_s):
                first = await self._event("change", name)
                while first["node"] is None:
                    first = await self._event("change", name)
        except TimeoutError:
            raise RuntimeError(f"{name}: {address} port {port} did not answer within {within_s:g} s") from None
        finally:
            self._say(stop=name)
        await self._event("summary", name)
        return float(first["at"])

    async def _event(self, kind: str, name: str) -> dict[str, Any]:
        while self._process.stdout is not None and (line := await self._process.stdout.readline()):
            event: dict[str, Any] = json.loads(line)
            if (event["event"], event["probe"]) == (kind, name):
                return event
        raise RuntimeError("the prober ended; its trace is above")

    def _say(self, **wish: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")


@asynccontextmanager
async def asking(far: FarEnd) -> AsyncIterator[Asking]:
    """The prober, in the client's namespace."""
    prober = [sys.executable, "-m", "purelb.sandbox.rig.prober", "--rate", str(PROBES_PER_SECOND)]
    request = {"network": far.network, "hostname": "client", "account": None, "argv": prober}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "purelb.sandbox.rig.enter", "start", json.dumps(request)),
        pass_fds=[far.network],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Asking(process)
    finally:
        await _ended(process)


@asynccontextmanager
async def running(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process in this network namespace until the block ends; its output is appended to `log`."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
        )
    try:
        yield process
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(ENDED_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _answering(place: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{place}", timeout=1):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{place} did not answer within {READY_WITHIN_S:g} s ({error}):\n{tail(log)}"
                ) from error
        time.sleep(0.02)
