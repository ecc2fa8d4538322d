# SPDX-License-Identifier: Apache-2.0
"""`purelb crds`: the CRDs as YAML, compared with a cluster, or applied to it.

Printing is pure and what the committed files in `crds/` are made with. `--diff` reads only, so it needs no permission to write: what
the server adds beside our fields is not a difference, but a schema is compared as a whole, because a field too many there is one.
`--apply` creates or merge-patches each CRD and waits until the server serves it; nothing is ever deleted.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import yaml

from purelb.api.crds import all_definitions
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import AlreadyExists, KubeError, NotFound
from purelb.kube.resources import CRDS
from purelb.kube.wire import PatchType
from purelb.process.command import ANSWER_IS_NO, CANNOT_WORK_HERE, DONE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from purelb.kube.clock import Clock

HEADER: Final = "# Made by `purelb crds` from the Structs in purelb/api; edit those, then run `make generated`.\n"
FIELD_MANAGER: Final = "purelb-crds"
ESTABLISHED_WITHIN: Final = 60.0

# A schema that differs in more places than this differs: the rest is counted.
_SHOWN_MAX: Final = 40


class _NoAliases(yaml.SafeDumper):
    """Shared parts of a schema are written out each time; anchors would hide what the server reads."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def render(definition: Mapping[str, object]) -> str:
    """One CRD as the text of its committed file."""
    return HEADER + yaml.dump(definition, Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)


def files() -> Mapping[str, str]:
    """File name -> text of everything in `crds/`."""
    return {f"{name}.yaml": render(definition) for name, definition in all_definitions().items()}


def differences(here: object, there: object, path: str = "", *, exact: bool = False) -> Iterator[str]:
    """Where the cluster's object is not what ours asks for, a line each. `exact` below a schema: nothing may be added there."""
    if isinstance(here, dict) and isinstance(there, dict):
        for name in here.keys() | (there.keys() if exact else set()):
            below = exact or name == "openAPIV3Schema"
            yield from differences(
                here.get(name), there.get(name), f"{path}.{name}" if path else str(name), exact=below
            )
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for position, (mine, theirs) in enumerate(zip(here, there, strict=True)):
            yield from differences(mine, theirs, f"{path}[{position}]", exact=exact)
    elif here != there:
        yield f"{path}: {_brief(there)} in the cluster, {_brief(here)} here"


async def diff(client: ApiClient) -> int:
    """Print what differs from the cluster; the answer is the number of CRDs that differ."""
    differing = 0
    for name, definition in all_definitions().items():
        try:
            answer = await client.raw("GET", CRDS.path(name=name))
        except NotFound:
            print(f"{name}: not in the cluster")
            differing += 1
            continue
        lines = sorted(differences(definition, msgspec.json.decode(answer.body)))
        if lines:
            differing += 1
            print("\n".join(f"{name}: {line}" for line in lines[:_SHOWN_MAX]))
            if len(lines) > _SHOWN_MAX:
                print(f"{name}: and {len(lines) - _SHOWN_MAX} more")
    return differing


async def apply(client: ApiClient, *, clock: Clock, within: float = ESTABLISHED_WITHIN) -> tuple[str, ...]:
    """Create or patch every CRD, then wait; answers the names that are not `Established` in time."""
    for name, definition in all_definitions().items():
        try:
            await client.create(CRDS, definition, field_manager=FIELD_MANAGER)
            print(f"{name}: created")
        except AlreadyExists:
            await client.patch(CRDS, name, definition, kind=PatchType.MERGE, field_manager=FIELD_MANAGER)
            print(f"{name}: configured")
    deadline = clock.now() + within
    waiting = tuple(all_definitions())
    while True:
        waiting = tuple([name for name in waiting if not await _established(client, name)])
        if not waiting or clock.now() >= deadline:
            return waiting
        await clock.until(min(deadline, clock.now() + 0.25))


async def _established(client: ApiClient, name: str) -> bool:
    stored = await client.get(CRDS, name)
    conditions = (stored.status.conditions if stored.status else None) or ()
    return any(found.type == "Established" and found.status == "True" for found in conditions)


def _brief(part: object) -> str:
    if part is None:
        return "nothing"
    text = msgspec.json.encode(part).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."


async def _with_cluster(arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    access = await load_access(kubeconfig=arguments.kubeconfig, context=arguments.context, prefer="kubeconfig")
    async with ApiClient(access, user_agent="purelb-crds", clock=clock) as client:
        if arguments.diff:
            return ANSWER_IS_NO if await diff(client) else DONE
        late = await apply(client, clock=clock)
    if late:
        print(f"not established after {ESTABLISHED_WITHIN:.0f} s: {', '.join(late)}", file=sys.stderr)
        return ANSWER_IS_NO
    return DONE


class Crds:
    name = "crds"
    help = "print the CustomResourceDefinitions, compare them with a cluster, or apply them"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--diff", action="store_true", help="compare with the cluster; exit code 1 when it differs")
        what.add_argument("--apply", action="store_true", help="create or patch them and wait until they are served")
        what.add_argument("--out", metavar="DIR", type=Path, help="write one file for each CRD into this directory")
        parser.add_argument("--kubeconfig", metavar="FILE", help="how to reach the cluster")
        parser.add_argument("--context", help="context of the kubeconfig; the current one by default")

    def run(self, arguments: argparse.Namespace) -> int:
        if arguments.diff or arguments.apply:
            try:
                return asyncio.run(_with_cluster(arguments))
            except KubeError as error:
                print(f"purelb crds: {error}", file=sys.stderr)
                return CANNOT_WORK_HERE
        if arguments.out is not None:
            directory: Path = arguments.out
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in files().items():
                (directory / name).write_text(text)
            return DONE
        sys.stdout.write("---\n".join(files().values()))
        return DONE


command = Crds()
