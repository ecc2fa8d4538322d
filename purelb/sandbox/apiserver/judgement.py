# SPDX-License-Identifier: Apache-2.0
"""Everything that is wrong with a custom resource: its schema's mistakes and those its rules find.

Rules see declared fields only, names escaped; a transition rule is asked only where there is an old value to compare with.
An object whose types are wrong is not shown to the rules: the answer says that they were not checked.
"""

from collections.abc import Iterator
from typing import Any

from purelb.sandbox.apiserver.answers import FieldError, duplicate, invalid, required
from purelb.sandbox.apiserver.expressions import NO_OLD, escaped
from purelb.sandbox.apiserver.schema import ABSENT, Node
from purelb.sandbox.apiserver.validation import matched, type_name, validate

_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueNotSupported"}
)
_UNCHECKED = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


def judge(node: Node, value: Any, old: Any) -> list[FieldError]:
    """All mistakes of a whole object: schema first, then the rules, unless the schema's mistakes make them meaningless."""
    wrong = validate(node, value, "", old)
    if not any(error.reason in _BLOCKING for error in wrong):
        return [*wrong, *check_rules(node, value, "", old)]
    return [*wrong, _UNCHECKED] if has_rules(node) else wrong


def has_rules(node: Node) -> bool:
    below = [*node.properties.values(), *(one for one in (node.items, node.additional) if one is not None)]
    return bool(node.rules) or any(map(has_rules, below))


def check_rules(
    node: Node, value: Any, path: str = "", old: Any = ABSENT, *, root: bool = True
) -> Iterator[FieldError]:
    """Mistakes that the `x-kubernetes-validations` of this value and of all below it find."""
    if value is None or (old is not ABSENT and old == value and not _has_transition(node)):
        return
    if node.rules:
        bound = as_cel(node, value, root=root)
        before = NO_OLD if old is ABSENT else as_cel(node, old, root=root)
        for rule in node.rules:
            message = rule.broken(bound, before)
            if message is not None:
                at = f"{path}{rule.field_path}" if path else rule.field_path.lstrip(".")
                yield _rule_error(rule.reason, at, node.type or type_name(value), message)
    match value:
        case dict():
            for name, inner in value.items():
                below = node.properties.get(name, node.additional)
                if below is not None and not (root and name == "metadata"):
                    was = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
                    yield from check_rules(below, inner, f"{path}.{name}" if path else name, was, root=False)
        case list() if node.items is not None:
            for index, (inner, was) in enumerate(zip(value, matched(node, value, old), strict=True)):
                yield from check_rules(node.items, inner, f"{path}[{index}]", was, root=False)
        case _:
            return


def _rule_error(reason: str, path: str, kind: str, message: str) -> FieldError:
    match reason:
        case "FieldValueRequired":
            return required(path, message)
        case "FieldValueForbidden":
            return FieldError(reason, path, f"Forbidden: {message}")
        case "FieldValueDuplicate":
            return duplicate(path, kind)
        case _:
            return invalid(path, kind, message)


def _has_transition(node: Node) -> bool:
    below = [*node.properties.values(), *(one for one in (node.items, node.additional) if one is not None)]
    return any(rule.transition for rule in node.rules) or any(map(_has_transition, below))


def as_cel(node: Node, value: Any, *, root: bool = False) -> Any:
    """The value as rules see it: declared fields only, names escaped, whole numbers of type number as doubles."""
    match value:
        case dict() if node.additional is not None:
            return {name: as_cel(node.additional, inner) for name, inner in value.items()}
        case dict():
            seen = {
                escaped(name): as_cel(below, value[name]) for name, below in node.properties.items() if name in value
            }
            if root or node.embedded:
                metadata = value.get("metadata") or {}
                seen["metadata"] = {name: metadata[name] for name in ("name", "generateName") if name in metadata}
                seen |= {name: value[name] for name in ("apiVersion", "kind") if name in value}
            return seen
        case list():
            return [as_cel(node.items, inner) for inner in value] if node.items is not None else value
        case int() if node.type == "number" and not isinstance(value, bool):
            return float(value)
        case _:
            return value
