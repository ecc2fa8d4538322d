# SPDX-License-Identifier: Apache-2.0
"""Can a sandbox run here, and if not, what would have to change?

Findings are facts with a consequence and a remedy. The only honest test of namespaces is to make some: a child does, prints what its kernel could do, and
ends; nothing of it is left. Files under /proc/sys only explain a refusal, they do not predict one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from purelb.sandbox.rig.links import probe_kinds
from purelb.sandbox.rig.namespaces import in_fresh_namespaces

PROBE_LIMIT_S: Final = 20.0
# Where programs of the system are; a user's own PATH leaves out the sbin directories on Debian.
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXTRA: Final = ("cryptography", "cel")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`needed`: without it `up` cannot work. `text` says what is; `remedy` what to do where `good` is False."""

    what: str
    good: bool
    needed: bool
    text: str
    remedy: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the child in fresh namespaces found. `error` is empty when there were namespaces."""

    error: str = ""
    bridge: bool = False
    veth: bool = False
    dummy: str | None = None
    nft: str | None = None


def examine() -> tuple[Finding, ...]:
    """All findings, the needed ones first."""
    machine = _probe()
    return (
        _extra(),
        _namespaces(machine),
        _ipv6(),
        *(_links(machine) if not machine.error else ()),
        *(_proxy(machine) if not machine.error else ()),
        _tags(),
        _kubectl(),
    )


def blocking(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.needed and not finding.good)


def nft_works() -> bool:
    """Whether the sandbox's proxy can be the kernel's, here and now in fresh namespaces."""
    machine = _probe()
    return not machine.error and machine.nft == ""


def _probe() -> Machine:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "purelb.sandbox.rig.doctor"],
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_S,
            check=False,
        )
        return msgspec.json.decode(child.stdout, type=Machine)
    except subprocess.TimeoutExpired:
        return Machine(error=f"no answer in {PROBE_LIMIT_S:g} s")
    except msgspec.DecodeError:
        return Machine(error=(child.stderr.strip().splitlines() or ["it died without a word"])[-1])


def _extra() -> Finding:
    missing = [name for name in EXTRA if find_spec(name) is None]
    return Finding(
        what="packages",
        good=not missing,
        needed=True,
        text=f"missing: {', '.join(missing)}" if missing else "the extra `sandbox` is installed",
        remedy="pip install 'purelb[sandbox]'",
    )


def _namespaces(machine: Machine) -> Finding:
    how = "root" if os.geteuid() == 0 else "root of a user namespace"
    return Finding(
        what="namespaces",
        good=not machine.error,
        needed=True,
        text=f"refused: {machine.error}" if machine.error else f"network namespaces can be made, as {how}",
        remedy=_namespace_remedy(),
    )


# What forbids user namespaces, the value that does, and how it is lifted.
_FORBIDDING: Final = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
)


def _namespace_remedy() -> str:
    for kind in ("net", "pid", "mnt", "uts"):
        if Path(f"/proc/sys/user/max_{kind}_namespaces").read_text(encoding="ascii").strip() == "0":
            return f"sysctl -w user.max_{kind}_namespaces=10000"
    if os.geteuid() == 0:
        return "root lacks CAP_SYS_ADMIN here, as in a container: run it with --privileged, or run this as a user whose kernel allows user namespaces"
    for key, value, command in _FORBIDDING:
        path = Path("/proc/sys", key)
        if path.exists() and path.read_text(encoding="ascii").strip() == value:
            return f"run as root, or allow user namespaces: {command}"
    return "run as root; in a container, with --privileged"


def _ipv6() -> Finding:
    there = Path("/proc/sys/net/ipv6").is_dir()
    return Finding(
        what="IPv6",
        good=there,
        needed=True,
        text="the kernel speaks it" if there else "the kernel does not speak it",
        remedy="boot without ipv6.disable=1 (sysctl disable_ipv6 does no harm)",
    )


def _links(machine: Machine) -> tuple[Finding, ...]:
    missing = [kind for kind, there in (("bridge", machine.bridge), ("veth", machine.veth)) if not there]
    links = Finding(
        what="links",
        good=not missing,
        needed=True,
        text=f"this kernel makes no {' and no '.join(missing)}" if missing else "bridge and veth",
        remedy="modprobe " + " ".join(missing),
    )
    dummy = Finding(
        what="dummy",
        good=machine.dummy == "dummy",
        needed=False,
        text="remote addresses have a dummy interface"
        if machine.dummy == "dummy"
        else f"no kind `dummy`: {machine.dummy or 'nothing'} stands in for it in LBNodeAgents",
        remedy="modprobe dummy",
    )
    return links, dummy


def _proxy(machine: Machine) -> tuple[Finding, ...]:
    text = {None: "nft is not installed: a relay serves the addresses, TCP only", "": "nftables serves the addresses"}
    return (
        Finding(
            what="proxy",
            good=machine.nft == "",
            needed=False,
            text=text.get(
                machine.nft, f"nft does not work here ({machine.nft}): a relay serves the addresses, TCP only"
            ),
            remedy="apt-get install nftables",
        ),
    )


def _tags() -> Finding:
    release = platform.release()
    number = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    return Finding(
        what="kernel",
        good=number >= (5, 18),
        needed=False,
        text=f"Linux {release}" + ("" if number >= (5, 18) else ": addresses are tagged by priority, not by protocol"),
        remedy="Linux 5.18 or newer",
    )


def _kubectl() -> Finding:
    found = shutil.which("kubectl")
    return Finding(
        what="kubectl",
        good=found is not None,
        needed=False,
        text=found or "not on PATH: `purelb sandbox kubectl` has nothing to run",
        remedy="install kubectl 1.27 or newer",
    )


def _look() -> int:
    kinds = probe_kinds()
    nft = None
    if (program := shutil.which("nft", path=SYSTEM_PATH)) is not None:
        tried = subprocess.run(
            [program, "-f", "-"],
            input="table ip try { chain nat { type nat hook postrouting priority srcnat; masquerade; }; }\n",
            capture_output=True,
            text=True,
            check=False,
        )
        nft = "" if tried.returncode == 0 else " ".join(tried.stderr.split())[:200] or f"exit code {tried.returncode}"
    sys.stdout.buffer.write(
        msgspec.json.encode(Machine(bridge=kinds.bridge, veth=kinds.veth, dummy=kinds.dummy, nft=nft))
    )
    return 0


def main() -> None:
    try:
        pid = in_fresh_namespaces(_look, hostname="purelb-doctor")
    except OSError as error:
        print(json.dumps({"error": error.strerror or str(error)}))
        return
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
