# SPDX-License-Identifier: Apache-2.0
"""`purelb rbac`: the roles of the components as YAML, made from the access tables that their clients enforce.

A row without namespaces becomes a rule of a ClusterRole, a row of the install namespace one of a Role. Each rule carries
its reason as a comment, so that whoever reviews the manifests need not look for it. `rules_of` and `roles` are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from purelb.allocator.access import access as allocator_access
from purelb.lbnodeagent.access import access as lbnodeagent_access
from purelb.process.command import DONE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from purelb.kube.resources import Access

DEFAULT_NAMESPACE: Final = "purelb-system"
COMPONENTS: Final[Mapping[str, Callable[[str], Sequence[Access]]]] = {
    "allocator": allocator_access,
    "lbnodeagent": lbnodeagent_access,
}
HEADER: Final = (
    "# Made by `purelb rbac` from the access tables of the components; edit those, then run `make generated`.\n"
)
OUR_KINDS: Final = ["servicegroups", "lbnodeagents", "lbnodestatuses"]

Document = dict[str, object]


def rule_of(row: Access) -> Document:
    """One row as a rule of a role."""
    resource = f"{row.resource}/{row.subresource}" if row.subresource else row.resource
    rule: Document = {"apiGroups": [row.group], "resources": [resource], "verbs": list(row.verbs)}
    if row.names is not None:
        rule["resourceNames"] = list(row.names)
    return rule


def roles(component: str, rows: Iterable[Access], *, namespace: str) -> Sequence[tuple[Document, Sequence[str]]]:
    """Roles and bindings of one component, each with the reasons of its rules in order; none for an empty role."""
    made: list[tuple[Document, Sequence[str]]] = []
    rows = tuple(rows)
    for kind, chosen in (
        ("ClusterRole", [row for row in rows if row.namespaces is None]),
        ("Role", [row for row in rows if row.namespaces is not None]),
    ):
        if not chosen:
            continue
        name = f"purelb:{component}"
        metadata: Document = {"name": name, "labels": _labels(component)}
        if kind == "Role":
            metadata["namespace"] = namespace
        head: Document = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        made.append(
            (
                head | {"kind": kind, "metadata": metadata, "rules": [rule_of(row) for row in chosen]},
                [row.reason for row in chosen],
            )
        )
        binding: Document = head | {
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": component, "namespace": namespace}],
        }
        made.append((binding, ()))
    return made


def people() -> Sequence[Document]:
    """What people may do with our kinds, added to the roles that Kubernetes aggregates."""
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": f"purelb:aggregate-to-{role}",
                "labels": {**_labels("rbac"), f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"},
            },
            "rules": [{"apiGroups": ["purelb.io"], "resources": resources, "verbs": verbs}],
        }
        for role, resources, verbs in (
            ("view", OUR_KINDS, ["get", "list", "watch"]),
            (
                "admin",
                ["servicegroups", "lbnodeagents"],
                ["create", "delete", "deletecollection", "patch", "update"],
            ),
        )
    ]


def as_yaml(document: Mapping[str, object], reasons: Sequence[str] = ()) -> str:
    """One document; the n-th reason stands as a comment above the n-th rule."""
    left = list(reasons)
    lines: list[str] = []
    for line in yaml.safe_dump(dict(document), sort_keys=False, width=120).splitlines():
        if left and line.startswith("- apiGroups"):
            lines.append(f"# {left.pop(0)}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def render(namespace: str) -> str:
    """All roles and bindings, as one YAML stream."""
    documents = [
        as_yaml(document, reasons)
        for component, table in COMPONENTS.items()
        for document, reasons in roles(component, table(namespace), namespace=namespace)
    ]
    return HEADER + "---\n".join([*documents, *map(as_yaml, people())])


def _labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "purelb", "app.kubernetes.io/component": component}


class Rbac:
    name = "rbac"
    help = "print the roles of the components as YAML, each rule with its reason"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help="install namespace")

    def run(self, arguments: argparse.Namespace) -> int:
        print(render(arguments.namespace), end="")
        return DONE


command = Rbac()
