# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes accepts as a name of a namespace or a Node, and as the key and value of a label.

Nothing of another form can exist in a cluster, so a setting or a selector that says it can match nothing and was mistyped. Says
whether, not why: the rules are the same everywhere, and whoever asks knows the place.
"""

import re
from typing import Final

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX_MAX: Final = 253


def is_namespace(text: str) -> bool:
    """A DNS label (RFC 1123): 1 to 63 of a-z, 0-9 and inner hyphens."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """A DNS subdomain (RFC 1123), the form of most names, Nodes' too: at most 253 of a-z, 0-9 and inner hyphens and dots."""
    return len(text) <= _PREFIX_MAX and _PREFIX.fullmatch(text) is not None


def is_qualified(text: str) -> bool:
    """`[prefix/]name`, the form of label keys and of load balancer classes."""
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > _PREFIX_MAX or _PREFIX.fullmatch(prefix) is None):
        return False
    return _NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """The value of a label; it may be empty."""
    return not text or _NAME.fullmatch(text) is not None


def is_slip(written: str, meant: str) -> bool:
    """Whether one name is another with one letter wrong, missing or too many, or two the wrong way round; or the same."""
    if abs(len(written) - len(meant)) > 1:
        return False
    here = _shared(written, meant)
    there = _shared(written[here:][::-1], meant[here:][::-1])
    left, right = written[here : len(written) - there], meant[here : len(meant) - there]
    return max(len(left), len(right)) <= 1 or (len(left) == 2 and left == right[::-1])


def _shared(one: str, other: str) -> int:
    """How many letters they begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
