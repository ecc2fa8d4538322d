# SPDX-License-Identifier: Apache-2.0
"""Roles and bindings as Kubernetes stores them, made from access tables. Pure.

A row without namespaces becomes a rule of a ClusterRole, a row of the install namespace one of a Role. The manifests are printed from here and the
sandbox stores the same objects, so neither can be ahead of the tables that the components' clients enforce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from purelb.kube.resources import Access

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
        metadata: Document = {"name": name, "labels": labels_of(component)}
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
                "labels": {**labels_of("rbac"), f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"},
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


def labels_of(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "purelb", "app.kubernetes.io/component": component}
