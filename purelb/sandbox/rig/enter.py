# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.rig.enter JSON`: become another program in another place.

Two ways in. `start`: the supervisor starts a component; it gets its node's (or its own) network, a host name, a private /run with the service account files
at the standard path, and a /sys that shows its own links. `visit`: somebody outside joins a running sandbox, as `purelb sandbox exec` does.

It is a process of its own, because what it does to itself cannot be undone, and it imports only the standard library, because it stands before every
start. Descriptors named in the request were inherited and are closed before the program begins.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypedDict

from purelb.sandbox.rig import namespaces as ns

ACCOUNT_PATH = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Start(TypedDict):
    """`account`: path of the directory with token, ca.crt and namespace; None for a program that has none."""

    network: int
    hostname: str
    account: str | None
    argv: list[str]


class Visit(TypedDict):
    """`supervisor`: a pidfd. `network`: the number of the descriptor in the supervisor that holds the network; None is the hub."""

    supervisor: int
    network: int | None
    hostname: str
    argv: list[str]


def start(request: Start) -> NoReturn:
    ns.unshare(ns.CLONE_NEWNS | ns.CLONE_NEWUTS)
    ns.private_mounts()
    ns.setns(request["network"], ns.CLONE_NEWNET)
    ns.own_sysfs()
    ns.sethostname(request["hostname"])
    _own_run(request["account"])
    _run(request["argv"])


def _own_run(account: str | None) -> None:
    """A private /run, as a pod has, and in it the account's directory at the path where Kubernetes clients look."""
    source = (
        None if account is None else os.open(account, os.O_PATH | os.O_CLOEXEC)
    )  # it may lie below what is hidden next
    run = ACCOUNT_PATH.parents[2].resolve()  # /var/run is /run on every current distribution
    ns.mount("tmpfs", run, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=755,size=1m")
    if source is not None:
        ACCOUNT_PATH.mkdir(parents=True)
        ns.mount(f"/proc/self/fd/{source}", ACCOUNT_PATH, "", ns.MS_BIND)
        os.close(source)


def visit(request: Visit) -> NoReturn:
    here = Path.cwd()
    kinds = ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWUTS
    if os.geteuid() != 0:
        kinds |= ns.CLONE_NEWUSER
    ns.setns(request["supervisor"], kinds)
    os.close(request["supervisor"])
    if request["network"] is not None:
        network = os.open(f"/proc/1/fd/{request['network']}", os.O_RDONLY | os.O_CLOEXEC)
        ns.setns(network, ns.CLONE_NEWNET)
    ns.unshare(ns.CLONE_NEWUTS)
    ns.sethostname(request["hostname"])
    with suppress(OSError):  # a working directory that the sandbox does not see is no reason to refuse
        os.chdir(here)
    child = os.fork()  # only a child is in the PID namespace, and so ends with the sandbox
    if child == 0:
        ns.die_with_parent()
        _run(request["argv"])
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the terminal tells the child as well; its answer counts
    signal.signal(signal.SIGTERM, lambda number, _: _pass_on(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it ended, and so shall we
        os.kill(child, number)


def _run(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)  # noqa: S606  that is what this file is for
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127)


def main() -> NoReturn:
    way, text = sys.argv[1:3]
    if way == "start":
        start(json.loads(text))
    visit(json.loads(text))


if __name__ == "__main__":
    main()
