# SPDX-License-Identifier: Apache-2.0
"""The CRDs of this repository with every example that admission takes or refuses, in a group of the room's own.

The definitions are those of `crds/` but for their group, so that a cluster that has PureLB installed is left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.api.examples import EXAMPLES, Example
from tests.fidelity.cases.objects import CRDS
from tests.fidelity.steps import Case, Room, case, get, post

if TYPE_CHECKING:
    from tests.fidelity.steps import Object, Request

DIRECTORY = Path(__file__).parents[3] / "crds"


def definitions() -> list[Object]:
    """The shipped CRDs, moved into the room's group."""
    read: list[Object] = [yaml.safe_load(path.read_text()) for path in sorted(DIRECTORY.glob("*.yaml"))]
    found = [one for one in read if one["kind"] == "CustomResourceDefinition"]
    for crd in found:
        crd["spec"]["group"] = "<group>"
        crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.<group>"
    return found


def served(crd: Object) -> list[Request]:
    plural = crd["spec"]["names"]["plural"]
    return [get(f"/apis/<group>/{one['name']}/{plural}", until={"status": 200}) for one in crd["spec"]["versions"]]


SHIPPED = Room(
    name="the shipped CRDs",
    prepare=(
        *(post(CRDS, crd) for crd in definitions()),
        *(step for crd in definitions() for step in served(crd)),
    ),
)


def judged(number: int, example: Example) -> Case:
    """Admission's answer; what is taken is read through both versions."""
    name = f"example-{number}"
    body: dict[str, Any] = {**example.object, "apiVersion": f"<group>/{example.version}", "metadata": {"name": name}}
    path = f"/apis/<group>/{{}}/namespaces/<ns>/{example.plural}"
    steps = [post(path.format(example.version), body)]
    if example.refused is None:
        steps += [get(f"{path.format(one)}/{name}", only=("apiVersion", "spec")) for one in ("v1", "v2")]
    verdict = "accepts" if example.refused is None else "refuses"
    return case(f"admission {verdict} {example.name}", *steps, room=SHIPPED)


CASES: tuple[Case, ...] = tuple(judged(number, example) for number, example in enumerate(EXAMPLES))
