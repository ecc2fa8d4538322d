# SPDX-License-Identifier: Apache-2.0
"""How often the text of /metrics is made, whoever asks how often.

It is the one page that costs milliseconds, and everybody who reaches the port may ask for it. Sixty connections that each ask
300 times in one breath once kept the loop from renewing its lease, and took leadership away. So there is a stock of renderings
that fills up again with time; when it is used up, the last text is given once more. A scraper, and a person who looks twice,
always get a fresh one.

Promised: a text is never older than `EVERY_S`. Not promised: that asking costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STOCK: Final = 20
EVERY_S: Final = 0.5


class Sparing:
    """`make`, but used at most `STOCK` times at once and then once in `EVERY_S`."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._left = float(STOCK)
        self._looked_at: float | None = None
        self._text = b""

    def text(self, now: float) -> bytes:
        """A fresh text, or the last one."""
        since = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        self._left = min(STOCK, self._left + since / EVERY_S)
        if self._left >= 1:
            self._left -= 1
            self._text = self._make()
        return self._text
