# SPDX-License-Identifier: Apache-2.0
"""Label selectors, as `metav1.LabelSelector` defines them. An operator we do not know makes a selector unreadable, never empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.model import LabelSelector, LabelSelectorRequirement


def problem(selector: LabelSelector) -> str | None:
    """What makes the selector unusable, as a sentence for people; None when it can be used."""
    for wanted in selector.match_expressions or ():
        if not wanted.key:
            return "a requirement has no key"
        match wanted.operator:
            case "In" | "NotIn":
                if not wanted.values:
                    return f'{wanted.operator} of "{wanted.key}" needs at least one value'
            case "Exists" | "DoesNotExist":
                if wanted.values:
                    return f'{wanted.operator} of "{wanted.key}" takes no values'
            case _:
                return (
                    f'"{wanted.operator}" of "{wanted.key}" is not an operator; write In, NotIn, Exists or DoesNotExist'
                )
    return None


def is_empty(selector: LabelSelector) -> bool:
    """Whether the selector has no requirement and so matches everything."""
    return not selector.match_labels and not selector.match_expressions


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold; a selector with a `problem` matches nothing."""
    wanted = selector.match_labels or {}
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _holds(wanted: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match wanted.operator:
        case "In":
            return labels.get(wanted.key) in (wanted.values or ())
        case "NotIn":  # an absent label satisfies it
            return labels.get(wanted.key) not in (wanted.values or ())
        case "Exists":
            return wanted.key in labels
        case "DoesNotExist":
            return wanted.key not in labels
        case _:
            return False
