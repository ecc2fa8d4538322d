# SPDX-License-Identifier: Apache-2.0
"""How foreign text appears in a message of ours.

Whoever may write a Service or a ServiceGroup may put a megabyte of anything into it. Messages end up in conditions, Events, logs and
terminals, so that text is shown cut and without characters that move a cursor or hide a word. It stands on the lowest floor because
range and subnet parsers quote what they refuse. Not promised: that two different texts are shown differently.
"""

# Long enough for the longest honest item (two IPv6 addresses and a dash have 79 characters).
SHOWN_MAX = 128


def shown(text: str) -> str:
    """`text` cut to 128 characters, every character that does not print replaced by `?`. Always encodes as UTF-8."""
    head = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
    # Control and format characters (bidirectional marks), surrogates, blanks that only look like one.
    return head if head.isprintable() else "".join(char if char.isprintable() else "?" for char in head)


def quoted(text: str) -> str:
    """`shown(text)` between double quotes."""
    return f'"{shown(text)}"'
