# SPDX-License-Identifier: Apache-2.0
"""The few system calls that make and enter Linux namespaces.

Rules. A network namespace is held by a file descriptor and by nothing else: no name under /run/netns, no bind mount, so there is nothing that could be
left behind by a process that is killed. Entering one (`inside`) is synchronous and short: no await stands between going in and coming back, so one
thread can serve many namespaces. A socket belongs to the namespace that it was opened in, for ever; that is how the supervisor listens and listens in
everywhere without living there.

Rejected: `ip netns` (needs iproute2 and leaves names), pyroute2's `netns=` (forks a child, and makes a namespace out of a typing mistake).
Not promised: anything off Linux, or in a process with several threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

_KINDS = {
    CLONE_NEWUSER: "user",
    CLONE_NEWNS: "mount",
    CLONE_NEWPID: "PID",
    CLONE_NEWNET: "network",
    CLONE_NEWUTS: "UTS",
}

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the named kinds of namespace for fresh ones. A new PID namespace begins with the next child."""
    kinds = ", ".join(name for flag, name in _KINDS.items() if flags & flag)
    _checked(_libc.unshare(ctypes.c_int(flags)), f"new namespaces ({kinds})")


def setns(descriptor: int, kinds: int = 0) -> None:
    """Enter the namespace behind `descriptor` (a namespace file, or a pidfd with `kinds` saying which of its namespaces)."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kinds)), "setns")


def mount(source: str, target: str | Path, fstype: str = "", flags: int = 0, options: str = "") -> None:
    answer = _libc.mount(
        source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), options.encode() or None
    )
    _checked(answer, f"mount {fstype or source} on {target}")


def private_mounts() -> None:
    """Nothing mounted from here on is seen outside, nothing mounted outside is seen here."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however it ends."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


@contextmanager
def adopting() -> Iterator[None]:
    """Children of our children become ours when their parent ends, so that we can wait for them."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield
    finally:
        _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def become_root_of_a_user_namespace() -> None:
    """A fresh user namespace in which we are root, for callers who are not root outside."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")


def in_fresh_namespaces(body: Callable[[], int], *, hostname: str) -> int:
    """Fork a child that runs `body` as PID 1 of its own user (when needed), mount, PID, network and UTS namespaces; answer its pid.

    The child is the only process whose end matters: with PID 1 the kernel ends every process below it, and with those the network namespaces and links.
    """
    if os.geteuid() != 0:
        become_root_of_a_user_namespace()
    unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS)
    pid = os.fork()
    if pid:
        return pid
    _be_first(body, hostname)
    return None


def _be_first(body: Callable[[], int], hostname: str) -> NoReturn:
    code = 70
    try:
        private_mounts()
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        own_sysfs()
        sethostname(hostname)
        code = body()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  the last frame of a process: whatever it was is printed, then the process ends
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):  # a closed stdout must not keep PID 1, and with it everything else, alive
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def own_sysfs() -> None:
    """Show this network namespace's links under /sys; where the kernel refuses (a container's masked /sys), the old view stays."""
    with suppress(PermissionError):  # nothing of ours reads /sys; it is there for people who look around with `exec`
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def sethostname(name: str) -> None:
    text = name.encode()
    _checked(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname")


def current_network() -> int:
    """A descriptor of the network namespace this process is in."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def new_network() -> int:
    """A descriptor of a fresh network namespace; it lives as long as the descriptor, a process or a socket in it."""
    home = current_network()
    try:
        unshare(CLONE_NEWNET)
        try:
            return current_network()
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def inside(network: int) -> Iterator[None]:
    """Be in `network` for a synchronous stretch of code: open a socket, write a sysctl, never await."""
    home = current_network()
    try:
        setns(network, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
