# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.fidelity.compare [WORDS ...]`: where the embedded server differs from the committed transcripts, to read.

Plays the cases whose name has all the words on a fresh embedded server and prints, step by step, every field that differs with
both sides. `*` marks what differences.toml lists already. Exit code 1 if something is not listed, or listed in vain.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fidelity import targets, transcripts
from tests.fidelity.cases import CASES
from tests.fidelity.normal import different
from tests.fidelity.rooms import Rooms


def main(words: list[str]) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as directory, targets.embedded(Path(directory)) as target:
        rooms = Rooms(target)
        for module, cases in CASES.items():
            for case in cases:
                test = f"{module}: {case.name}"
                expected = transcripts.read(transcripts.MINOR, module).get(case.name)
                if not all(word in test for word in words) or expected is None:
                    continue
                found = rooms.run(case)
                known = transcripts.listed().get(test, {})
                wrong += bool(transcripts.judge(expected, found, known))
                lines = [
                    f"  {(transcripts.covering(field, known) and '*') or ' '} {field}\n"
                    f"      real:     {transcripts.short(one)}\n      embedded: {transcripts.short(other)}"
                    for step, (theirs, ours) in enumerate(zip(expected, found, strict=True), 1)
                    for field, one, other in ((f"{step}.{at}", a, b) for at, a, b in different(theirs, ours))
                ]
                if lines:
                    print(test, *lines, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
