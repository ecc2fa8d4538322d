# SPDX-License-Identifier: Apache-2.0
"""`hack/bench announce` once, as a person would type it: every figure comes about, whatever it is.

Its exit code is not judged: on a machine that does other work, milliseconds are missed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from purelb.sandbox.bench.results import decoded

ROOT = Path(__file__).parents[2]
READ_LATE_MS = 50.0
FROM_CREATION = (
    "POST answered to address in the status, with an agent",
    "create to address on the interface",
    "create to the first gratuitous ARP on the wire",
    "delete to address gone from the interface",
    "create to the first HTTP answer, through kube-proxy",
)


@pytest.mark.conformance
@pytest.mark.timeout(420)
def test_announcing_is_measured_from_the_creation_to_the_first_answer_and_back(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    done = subprocess.run(
        ["hack/bench", "announce", "--trials", "1", "--out", str(out)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert out.exists(), done.stderr
    assert "not complete" not in done.stderr, done.stderr
    found = {row.case: row for row in decoded(out.read_bytes()).rows}
    of_ipv6 = {
        f"IPv6: {case}".replace("gratuitous ARP", "unsolicited neighbour advertisement") for case in FROM_CREATION
    }
    assert set(FROM_CREATION) | of_ipv6 <= set(found)
    assert all(row.n == 1 for case, row in found.items() if case in FROM_CREATION)
    # The address may be seen before the answer to the POST is: that row alone may be negative.
    assert all(row.p50 > 0 for case, row in found.items() if case in FROM_CREATION[1:])
    on_wire, on_interface = found[FROM_CREATION[2]], found[FROM_CREATION[1]]
    # Two readers in one loop: which of them is asked first says nothing about who spoke first.
    assert on_wire.p50 > on_interface.p50 - READ_LATE_MS, "an address is announced once it is there"
