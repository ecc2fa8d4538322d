# SPDX-License-Identifier: Apache-2.0
"""What `up` and `demo` both ask when they start a sandbox: can it run here, with which proxy, and who is not ready yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from purelb.sandbox.cluster.reach import Sandbox
from purelb.sandbox.cluster.state import Unusable
from purelb.sandbox.rig import doctor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.sandbox.cluster.programs import ProxyKind
    from purelb.sandbox.cluster.state import StateDirectory


def choose_proxy(wanted: str, findings: Sequence[doctor.Finding]) -> ProxyKind:
    """`auto` is nftables where it works. Raises Unusable for `nft` where it does not."""
    works = any(finding.what == "proxy" and finding.good for finding in findings)
    if wanted == "nft" and not works:
        raise Unusable("--proxy nft: " + next(finding.text for finding in findings if finding.what == "proxy"))
    return "nft" if works and wanted != "user" else "user"


def tell_what_is_missing(findings: tuple[doctor.Finding, ...]) -> bool:
    """Print what keeps a sandbox from running here, with the remedy; True if nothing does."""
    blocking = doctor.blocking(findings)
    for finding in blocking:
        print(f"purelb sandbox: {finding.what}: {finding.text}\n  remedy: {finding.remedy}", file=sys.stderr)
    return not blocking


def unready(state: StateDirectory) -> list[str]:
    """A line for each program that is not ready: why, the last it wrote, and where the rest is."""
    return [
        f"  {pod['name']}: {pod['reason']}\n    {_last_line(state, pod['name'])}"
        for pod in Sandbox(state).status()["pods"]
        if not pod["ready"]
    ]


def _last_line(state: StateDirectory, pod: str) -> str:
    log = state.logs / f"{pod}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return f"{log}: {lines[-1][:200] if lines else 'empty'}"
