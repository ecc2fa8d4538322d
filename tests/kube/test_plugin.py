# SPDX-License-Identifier: Apache-2.0
"""Credential plugins: what they give, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from purelb.kube.plugin import SAID_MAX_BYTES, Given, PluginError, ask
from tests.kube.processes import begun, is_running, numbers, only

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "client.authentication.k8s.io/v1"


def says(status: str, *, version: str = VERSION) -> str:
    return f"""echo '{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {status}}}'"""


async def run(script: str) -> Given:
    return await ask(("/bin/sh", "-c", script), env={"PATH": "/bin:/usr/bin"}, api_version=VERSION)


async def test_a_plugin_that_nobody_waits_for_any_more_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.get_running_loop().create_task(run(f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait"))
    both = await begun(pids, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await only(both)


async def test_what_a_plugin_started_is_ended_though_it_has_gone_itself(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.get_running_loop().create_task(run(f"sleep 600 & echo $! >> {pids}"))
    (left,) = await begun(pids, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await only([left])


async def test_a_plugin_is_ended_wherever_its_caller_is_cancelled(tmp_path: Path) -> None:
    for turns in range(12):
        pids = tmp_path / f"pids{turns}"
        task = asyncio.get_running_loop().create_task(run(f"echo $$ > {pids}; exec sleep 600"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await only(numbers(pids))


async def test_who_waits_for_a_plugin_that_he_may_not_end_is_cancelled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(group: int, number: int) -> None:
        os.kill(group, number)  # it ends at that moment, but not by us
        raise PermissionError(1, "Operation not permitted")

    pids = tmp_path / "pids"
    task = asyncio.get_running_loop().create_task(run(f"echo $$ >> {pids}; exec sleep 600"))
    (alone,) = await begun(pids, 1)
    monkeypatch.setattr("purelb.kube.plugin.os.killpg", refused)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await only([alone])


@pytest.mark.parametrize(("code", "heard"), [(0, ""), (3, "ended with code 3: no luck$")])
async def test_who_ended_by_himself_is_done_though_what_he_started_goes_on_and_could_complain(
    code: int, heard: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    answer = says('{"token": "t"}')
    script = f"sleep 600 >/dev/null & echo $! >> {pids}; echo no luck >&2; {answer}; exit {code}"
    if code:
        with pytest.raises(PluginError, match=heard):
            await run(script)
    else:
        assert (await run(script)).token == "t"
    (left,) = await begun(pids, 1)
    assert is_running(left), "it may be an agent that the next one asks"
    os.kill(left, signal.SIGKILL)
    await only([left])


async def test_what_a_plugin_says_is_null_it_does_not_say() -> None:
    given = await run(says('{"token": "t", "clientCertificateData": null, "clientKeyData": null}'))
    assert given == Given(token="t")
    given = await run(says('{"token": null, "clientCertificateData": "c", "clientKeyData": "k"}'))
    assert given == Given(client_certificate_data="c", client_key_data="k")


async def test_a_plugin_may_complain_at_length_before_it_answers() -> None:
    script = "yes complaint | head -c 300000 >&2; " + says('{"token": "t"}')
    assert (await run(script)).token == "t"


async def test_a_plugin_that_never_stops_talking_is_heard_up_to_a_limit() -> None:
    with pytest.raises(PluginError, match="no ExecCredential"):
        await run(f"yes | head -c {3 * SAID_MAX_BYTES}")
    answer = says('{"token": "t"}')
    blanks = "head -c {} /dev/zero | tr '\\0' ' '; {}"  # which mean nothing to whoever reads JSON
    assert (await run(blanks.format(SAID_MAX_BYTES // 2, answer))).token == "t"
    with pytest.raises(PluginError, match="no ExecCredential"):
        await run(blanks.format(SAID_MAX_BYTES, answer))


REFUSED = {
    "no JSON": ("echo hello", "gave no ExecCredential: JSON is malformed"),
    "nothing": ("true", "gave no ExecCredential"),
    "another object": ("echo '{}'", "missing required field `apiVersion`"),
    "a token that is a number": (says('{"token": 5}'), "Expected `str | null`, got `int`"),
    "another version": (says('{"token": "t"}', version="v9"), f"speaks 'v9', and the kubeconfig says '{VERSION}'"),
    "an empty credential": (says("{}"), "neither a token nor a certificate with its key"),
    "nulls alone": (says('{"token": null}'), "neither a token nor a certificate with its key"),
    "a certificate without its key": (
        says('{"clientCertificateData": "c"}'), "neither a token nor a certificate with its key"
    ),
    "a failure without words": ("exit 4", "ended with code 4$"),
    "a failure with odd ones": (r"printf 'a\033[1mb' >&2; exit 1", r"ended with code 1: a \[1mb$"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_plugin_that_gives_nothing_is_told_with_its_name(name: str) -> None:
    script, why = REFUSED[name]
    with pytest.raises(PluginError, match=why) as caught:
        await run(script)
    assert "plugin /bin/sh " in str(caught.value)


def test_what_a_plugin_gives_is_never_printed() -> None:
    assert "s3ntinel" not in repr(Given(token="s3ntinel", client_key_data="s3ntinel"))
