# SPDX-License-Identifier: Apache-2.0
"""The fields of a log line about a failure, the same everywhere, so that one search finds them all.

A line says what failed in `code` and its subjects; why, as which kind of error, in which attempt, when it is tried again and
how long it took is said here. A field that does not apply is left out. Tests refuse an `error` that was not made here.
"""

from __future__ import annotations

from typing import Any


def failure(
    error: BaseException | str | None,
    *,
    kind: str | None = None,
    attempt: int | None = None,
    retry_in: float | None = None,
    took: float | None = None,
) -> dict[str, Any]:
    """`error` is what was raised, or the words of whoever refused, whose class `kind` then names.

    `attempt` counts from 1; `retry_in` and `took` are seconds. None as error: nobody answered.
    """
    fields = {
        "error": "no answer" if error is None else str(error),
        "errorType": type(error).__name__ if isinstance(error, BaseException) else kind,
        "attempt": attempt,
        "retryIn": None if retry_in is None else round(retry_in, 3),
        "took": None if took is None else round(took, 3),
    }
    return {name: value for name, value in fields.items() if value is not None}
