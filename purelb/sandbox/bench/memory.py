# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.memory WHAT`: memory and garbage collection, each figure in a process of its own.

`cached FORM SHAPE FILE` caches the objects of a list body, as a store (`store`) or as dicts by key (`dicts`), lets go of the
body and prints the resident bytes it added. `collected FORM FILE...` caches several bodies and prints the seconds of CPU of one full
collection; what was there before is frozen, so only the cached objects are looked at. `client DIRECTORY` prints the
resident bytes of a process with the in-cluster client of a service account and no object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from purelb.kube.decode import Codec, Poison
from purelb.kube.resources import ENDPOINT_SLICES, NODES, SERVICES
from purelb.kube.store import Store

if TYPE_CHECKING:
    from purelb.kube.resources import Resource

RESOURCES: Final[dict[str, Resource[Any]]] = {"service": SERVICES, "slice": ENDPOINT_SLICES, "node": NODES}
_COLLECTIONS: Final = 5


async def asked(*arguments: str) -> float:
    """Run this module in a process of its own and read its figure."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "purelb.sandbox.bench.memory", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"measuring {arguments} failed; its trace is above")
    return float(output)


def resident() -> int:
    """Resident bytes of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cache(form: str, shape: str, file: str) -> object:
    """The objects of a list in one of two forms."""
    body = Path(file).read_bytes()
    if form == "dicts":
        whole = json.loads(body)
        return {(each["metadata"].get("namespace"), each["metadata"]["name"]): each for each in whole["items"]}
    codec = Codec(RESOURCES[shape])
    raws, rv, _ = codec.envelope(body)
    del body
    store: Store[Any] = Store()
    replacement = store.replacement({}, rv)
    for raw in raws:
        item = codec.item(raw)
        if isinstance(item, Poison):
            raise TypeError(f"a recorded object does not decode: {item.error}")
        replacement.take(item)
    store.commit(replacement)
    return store


def _cached(form: str, shape: str, file: str) -> float:
    gc.collect()
    before = resident()
    held = cache(form, shape, file)
    gc.collect()
    after = resident()
    del held
    return after - before


def _collected(form: str, *files: str) -> float:
    gc.collect()
    gc.freeze()
    held = [cache(form, shape, file) for shape, file in zip(("service", "slice"), files, strict=True)]
    times = []
    for _ in range(_COLLECTIONS):
        began = time.process_time()
        gc.collect()
        times.append(time.process_time() - began)
    del held
    return statistics.median(times)


async def _client(directory: Path) -> float:
    from purelb.kube.access import load_access
    from purelb.kube.client import ApiClient
    from purelb.kube.clock import SystemClock

    os.environ |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    access = await load_access(service_account_dir=directory)
    async with ApiClient(access, user_agent="bench", clock=SystemClock()):
        return resident()


def main(arguments: list[str]) -> float:
    match arguments:
        case ["cached", form, shape, file]:
            return _cached(form, shape, file)
        case ["collected", form, *files]:
            return _collected(form, *files)
        case ["client", directory]:
            return asyncio.run(_client(Path(directory)))
        case _:
            raise SystemExit(f"not a measurement: {arguments}")


if __name__ == "__main__":
    print(main(sys.argv[1:]))
