# SPDX-License-Identifier: Apache-2.0
"""Pruning and defaults of custom resources, and the defaults' own judgement when a schema is compiled.

Both walks change the object in place. A default must validate against its own schema, so what is filled in never has to be
judged with suspicion.
"""

from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import FieldError, invalid
from purelb.sandbox.apiserver.schema import ABSENT, Node, structural, wrong_words
from purelb.sandbox.apiserver.validation import validate


def compile_schema(written: Any, path: str, errors: list[FieldError]) -> Node:
    """A tree for a structural schema whose defaults are valid. Mistakes are appended; the tree is only good if none was."""
    if why := wrong_words(written):
        errors.append(invalid(path, "object", why))
        return Node({})
    node = structural(written, path, errors)
    if not errors:
        _check_defaults(node, path, errors)
    return node


def _check_defaults(node: Node, path: str, errors: list[FieldError]) -> None:
    if node.default is not ABSENT:
        value = msgspec.json.decode(msgspec.json.encode(node.default))
        fill(node, value)
        if prune(node, value, root=False):
            errors.append(invalid(f"{path}.default", node.default, "must not have unknown fields"))
        errors += [
            FieldError(error.reason, f"{path}.default{'.' if error.field else ''}{error.field}", error.message)
            for error in validate(node, value)
        ]
    for name, below in node.properties.items():
        _check_defaults(below, f"{path}.properties[{name}]", errors)
    if node.items is not None:
        _check_defaults(node.items, f"{path}.items", errors)
    if node.additional is not None:
        _check_defaults(node.additional, f"{path}.additionalProperties", errors)


_ROOT = ("apiVersion", "kind", "metadata")


def prune(node: Node, value: Any, *, path: str = "", root: bool = True) -> list[str]:
    """Remove what the schema does not name; answers the paths that were removed."""
    gone: list[str] = []
    if isinstance(value, dict):
        for name in list(value):
            inner = f"{path}.{name}" if path else name
            if (root or node.embedded) and name in _ROOT:
                continue
            if name in node.properties:
                gone += prune(node.properties[name], value[name], path=inner, root=False)
            elif node.additional is not None:
                gone += prune(node.additional, value[name], path=inner, root=False)
            elif not node.keep:
                del value[name]
                gone.append(inner)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            gone += prune(node.items, item, path=f"{path}[{index}]", root=False)
    return gone


def fill(node: Node, value: Any) -> None:
    """Set defaults in place. A null where null is not allowed counts as absent."""
    if isinstance(value, dict):
        for name, below in node.properties.items():
            if name in value and value[name] is None and not below.nullable:
                del value[name]
            if below.default is not ABSENT and name not in value:
                value[name] = msgspec.json.decode(msgspec.json.encode(below.default))
            if name in value:
                fill(below, value[name])
        if node.additional is not None:
            for name in list(value):
                if value[name] is None and not node.additional.nullable:
                    del value[name]
                elif name not in node.properties:
                    fill(node.additional, value[name])
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            fill(node.items, item)
