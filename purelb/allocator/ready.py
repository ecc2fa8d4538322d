# SPDX-License-Identifier: Apache-2.0
"""The condition `Ready` of the objects whose status we write: as it is stored, and as it goes into the patch.

The time in it is that of the last change of its status: a new reason or message leaves it as it is.
"""

from collections.abc import Iterable

from purelb.api import reasons
from purelb.kube.model import Condition


def ready_of(conditions: Iterable[Condition] | None) -> Condition | None:
    """The condition among those of a stored status."""
    return next((found for found in conditions or () if found.type == reasons.READY), None)


def ready_as(
    before: Condition | None, *, ready: bool, reason: str, message: str, generation: object, now: str
) -> dict[str, object]:
    """The condition to be written over the one `before`. `now` is the RFC 3339 time, used when its status changes."""
    status = "True" if ready else "False"
    since = before.last_transition_time if before is not None and before.status == status else None
    return {
        "type": reasons.READY,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since or now,
    }
