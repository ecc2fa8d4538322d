# SPDX-License-Identifier: Apache-2.0
"""`purelb rbac`: the roles of the components as YAML, made from the access tables that their clients enforce.

A row without namespaces becomes a rule of a ClusterRole, a row of the install namespace one of a Role. Each rule carries
its reason as a comment, so that whoever reviews the manifests need not look for it. What the roles are is said in `purelb.api.roles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from purelb.allocator.access import access as allocator_access
from purelb.api.roles import labels_of, people, roles, rule_of
from purelb.lbnodeagent.access import access as lbnodeagent_access
from purelb.process.command import DONE
from purelb.process.scrapers import ACCESS as METRICS_AUTH
from purelb.process.scrapers import PATH as METRICS_PATH

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from purelb.kube.resources import Access

DEFAULT_NAMESPACE: Final = "purelb-system"
COMPONENTS: Final[Mapping[str, Callable[[str], Sequence[Access]]]] = {
    "allocator": allocator_access,
    "lbnodeagent": lbnodeagent_access,
}
HEADER: Final = (
    "# Made by `purelb rbac` from the access tables of the components; edit those, then run `make generated`.\n"
)


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


def render_metrics_auth(namespace: str) -> str:
    """What `--metrics-auth=kubernetes` needs in addition, and a role for who scrapes."""
    head = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    metadata = {"name": "purelb:metrics-auth", "labels": labels_of("metrics-auth")}
    role = head | {"kind": "ClusterRole", "metadata": metadata, "rules": [rule_of(row) for row in METRICS_AUTH]}
    binding = head | {
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [
            {"kind": "ServiceAccount", "name": component, "namespace": namespace} for component in sorted(COMPONENTS)
        ],
    }
    reader = head | {
        "kind": "ClusterRole",
        "metadata": {"name": "purelb:metrics-reader", "labels": labels_of("metrics-auth")},
        "rules": [{"nonResourceURLs": [METRICS_PATH], "verbs": ["get"]}],
    }
    documents = [as_yaml(role, [row.reason for row in METRICS_AUTH]), as_yaml(binding), as_yaml(reader)]
    return HEADER + "---\n".join(documents)


class Rbac:
    name = "rbac"
    help = "print the roles of the components as YAML, each rule with its reason"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help="install namespace")
        parser.add_argument(
            "--metrics-auth", action="store_true", help="print what --metrics-auth=kubernetes needs in addition instead"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        chosen = render_metrics_auth if arguments.metrics_auth else render
        print(chosen(arguments.namespace), end="")
        return DONE


command = Rbac()
