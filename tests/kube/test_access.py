# SPDX-License-Identifier: Apache-2.0
"""Where the server is, whom to trust, and what to show it; and what happens when that changes."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import os
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import yaml
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from purelb.kube import kubeconfig as kubeconfig_module
from purelb.kube.access import (
    ClusterAccess,
    Credential,
    KubeconfigCredentials,
    ServiceAccountCredentials,
    Tls,
    fixed_access,
    load_access,
    ssl_context,
)
from purelb.kube.client import ApiClient
from purelb.kube.decode import Event
from purelb.kube.errors import AccessError, TransportError, Unauthorized
from purelb.kube.resources import SERVICES
from purelb.kube.secret import Secret
from tests.kube.authority import Authority
from tests.kube.processes import begun, numbers, only
from tests.kube.scripted import Call, Scripted
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3ntinel"
AUTHORITY = Authority()


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def service_account(folder: Path, *, token: str = "t1\n", ca: bytes = AUTHORITY.pem, namespace: str = "ours\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(ca)
    (folder / "namespace").write_text(namespace)
    return folder


def kubeconfig(
    path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **more: Any
) -> Path:
    ca = base64.b64encode(AUTHORITY.pem).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://api.test:6443/", "certificate-authority-data": ca, **(cluster or {})},
            }
        ],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "spaces"}}],
        **more,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def said(credential: Credential) -> str | None:
    return credential.authorization.reveal() if credential.authorization is not None else None


def shown(access: ClusterAccess) -> str | None:
    return said(access.credentials.current(0.0))


# In a cluster


async def test_in_a_cluster_three_files_and_two_variables_are_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = await load_access(service_account_dir=service_account(tmp_path / "sa"))
    assert (access.server, access.namespace, access.origin) == ("https://10.96.0.1:443", "ours", "in-cluster")
    assert shown(access) == "Bearer t1"
    assert access.tls.ca_pem == AUTHORITY.pem
    assert access.proxy is None


async def test_an_ipv6_server_is_bracketed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    access = await load_access(service_account_dir=service_account(tmp_path / "sa"))
    assert access.server == "https://[fd00::1]:6443"


def test_an_in_cluster_start_does_not_pay_for_the_kubeconfig_library(tmp_path: Path) -> None:
    service_account(tmp_path / "sa")
    script = (
        "import asyncio, sys; from pathlib import Path; from purelb.kube.access import load_access\n"
        "from purelb.kube.client import ApiClient; from purelb.kube.clock import SystemClock\n"
        "async def main():\n"
        "    access = await load_access(service_account_dir=Path(sys.argv[1]))\n"
        "    async with ApiClient(access, user_agent='t', clock=SystemClock()): pass\n"
        "asyncio.run(main()); assert 'kubernetes_asyncio' not in sys.modules"
    )
    env = {**os.environ, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "sa")], env=env, check=True, timeout=50)


def test_a_rotated_token_is_used_within_a_minute(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    assert said(credentials.current(100.0)) == "Bearer t1"
    (folder / "token").write_text(" t2 \n")
    assert said(credentials.current(159.9)) == "Bearer t1"
    assert said(credentials.current(160.0)) == "Bearer t2"


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_that_cannot_be_read_leaves_the_old_one_in_force_and_is_logged_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    caplog.set_level(logging.INFO)
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    before = credentials.current(0.0)
    if content is None:
        (folder / "token").unlink()
    else:
        (folder / "token").write_text(content)
    for now in range(60, 240, 10):
        assert credentials.current(float(now)) is before
    assert len([record for record in caplog.records if getattr(record, "code", "") == "accessReloadFailed"]) == 3


def test_a_rotated_authority_gives_later_requests_another_context(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    before = credentials.current(0.0)
    (folder / "ca.crt").write_bytes(Authority("new").pem)
    assert credentials.current(59.0) is before
    after = credentials.current(60.0)
    assert after.tls is not before.tls
    assert after.authorization == before.authorization
    assert credentials.current(120.0) is after


def test_an_authority_that_is_garbage_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    before = credentials.current(0.0)
    garbage = (b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe")
    for now, content in enumerate(garbage, start=1):
        (folder / "ca.crt").write_bytes(content)
        assert credentials.retrusted(before, float(now)) is before


async def test_forced_reads_are_at_most_one_a_second(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    first = credentials.current(0.0)
    assert await credentials.renewed(first, 10.0) is first
    (folder / "token").write_text("t2")
    assert await credentials.renewed(first, 10.9) is first
    second = await credentials.renewed(first, 11.0)
    assert said(second) == "Bearer t2"
    (folder / "token").write_text("t3")
    assert await credentials.renewed(first, 99.0) is second


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_service_account_that_cannot_be_used_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    folder = service_account(tmp_path / "sa")
    (folder / missing).unlink()
    with pytest.raises(AccessError, match=missing):
        await load_access(service_account_dir=folder)


@pytest.mark.parametrize(
    ("host", "port"), [("10.96.0.1", "tcp://10.96.0.1:443"), ("10.96.0.1", "0"), ("10.96 .0.1", "443"), ("[", "443")]
)
async def test_an_address_of_the_cluster_that_is_none_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, port: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    with pytest.raises(AccessError, match="KUBERNETES_SERVICE_HOST"):
        await load_access(service_account_dir=service_account(tmp_path / "sa"))


async def test_a_namespace_that_is_no_text_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    folder = service_account(tmp_path / "sa")
    (folder / "namespace").write_bytes(b"\xff\xfe")
    assert (await load_access(service_account_dir=folder)).namespace == ""


# Refusals, seen from the client


def over(credentials: Any, respond: Callable[[Call], None]) -> tuple[ApiClient, Scripted, VirtualClock]:
    clock, transport = VirtualClock(1000.0), Scripted(respond)
    access = ClusterAccess(server="https://api.test", credentials=credentials, origin="fixed")
    return ApiClient(access, user_agent="t", clock=clock, transport=transport), transport, clock


def knows(*tokens: str) -> Callable[[Call], None]:
    def respond(call: Call) -> None:
        if call.headers.get("authorization", "").removeprefix("Bearer ") in tokens:
            call.reply({})
        else:
            call.refuse(401, "Unauthorized")

    return respond


async def test_a_refused_token_that_was_rotated_is_replaced_by_one_repeat(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    client, transport, _ = over(ServiceAccountCredentials(folder), knows("t2"))
    (folder / "token").write_text("t2")
    assert (await client.raw("GET", "/version")).status == 200
    assert len(transport.seen) == 2


async def test_a_refused_token_that_is_still_the_same_is_unauthorized_after_one_request(tmp_path: Path) -> None:
    client, transport, _ = over(ServiceAccountCredentials(service_account(tmp_path / "sa")), knows())
    with pytest.raises(Unauthorized):
        await client.raw("GET", "/version")
    assert len(transport.seen) == 1


async def test_a_token_that_is_refused_after_its_replacement_too_is_not_asked_again(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    client, transport, _ = over(ServiceAccountCredentials(folder), knows())
    (folder / "token").write_text("t2")
    with pytest.raises(Unauthorized):
        await client.raw("GET", "/version")
    assert len(transport.seen) == 2


async def test_a_watch_is_authenticated_again_when_it_is_opened(tmp_path: Path) -> None:
    folder = service_account(tmp_path / "sa")
    client, transport, _ = over(ServiceAccountCredentials(folder), knows("t2"))
    (folder / "token").write_text("t2")
    async with client.watch(SERVICES, rv="1", timeout_s=300) as stream:
        assert [len(batch) async for batch in stream] == []
    assert len(transport.seen) == 2
    transport.assert_all_closed()


async def test_a_certificate_that_is_not_accepted_is_tried_once_more_if_the_authority_was_replaced(
    tmp_path: Path,
) -> None:
    folder = service_account(tmp_path / "sa")
    credentials = ServiceAccountCredentials(folder)
    old = credentials.current(0.0).tls

    def respond(call: Call) -> None:
        if call.request.tls is old:
            call.fail("tls")
        else:
            call.reply({})

    client, transport, clock = over(credentials, respond)
    with pytest.raises(TransportError):
        await client.raw("GET", "/version")
    assert len(transport.seen) == 1
    clock.jump(1.0)
    (folder / "ca.crt").write_bytes(Authority("new").pem)
    assert (await client.raw("GET", "/version")).status == 200
    assert len(transport.seen) == 3


class EverFresh:
    """Credentials that are new each time they are asked for."""

    def current(self, now: float) -> Credential:
        return Credential(Secret("Bearer x"), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    async def renewed(self, rejected: Credential, now: float) -> Credential:
        return self.current(now)

    def retrusted(self, rejected: Credential, now: float) -> Credential:
        return self.current(now)


@pytest.mark.parametrize("how", ["401", "tls"])
async def test_a_request_is_repeated_once_however_often_the_credential_changes(how: str) -> None:
    client, transport, _ = over(EverFresh(), lambda call: call.refuse(401) if how == "401" else call.fail("tls"))
    with pytest.raises((Unauthorized, TransportError)):
        await client.raw("GET", "/version")
    assert len(transport.seen) == 2
    with pytest.raises((Unauthorized, TransportError)):
        async with client.watch(SERVICES, rv="1", timeout_s=300):
            pass
    assert len(transport.seen) == 4
    transport.assert_all_closed()


async def test_a_server_that_shows_a_certificate_of_the_new_authority_is_trusted_by_the_next_connection(
    tmp_path: Path,
) -> None:
    old, new = Authority("old"), Authority("new")
    folder = service_account(tmp_path / "sa", ca=old.pem)

    async def version(_: web.Request) -> web.Response:
        return web.json_response({})

    async def serve(authority: Authority, port: int) -> tuple[web.AppRunner, int]:
        app = web.Application()
        app.router.add_get("/version", version)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=authority.server_context()).start()
        return runner, int(runner.addresses[0][1])

    runner, port = await serve(old, 0)
    access = ClusterAccess(
        server=f"https://127.0.0.1:{port}", credentials=ServiceAccountCredentials(folder), origin="in-cluster"
    )
    async with ApiClient(access, user_agent="t", clock=VirtualClock(1000.0)) as client:
        assert (await client.raw("GET", "/version")).status == 200
        await runner.cleanup()
        runner, _ = await serve(new, port)
        (folder / "ca.crt").write_bytes(new.pem)
        assert (await client.raw("GET", "/version")).status == 200
    await runner.cleanup()


async def test_a_watch_that_was_open_when_the_authority_was_replaced_goes_on(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    folder = service_account(tmp_path / "sa", ca=old.pem)
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while line := await more.get():
            await response.write(line)
        return response

    async def version(_: web.Request) -> web.Response:
        return web.json_response({})

    async def serve(authority: Authority, port: int) -> tuple[web.AppRunner, web.TCPSite]:
        app = web.Application()
        app.router.add_get("/version", version)
        app.router.add_get("/api/v1/services", watch)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=authority.server_context())
        await site.start()
        return runner, site

    def event(name: str) -> bytes:
        return b'{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"%s"}}}\n' % name.encode()

    runner, site = await serve(old, 0)
    port = int(runner.addresses[0][1])
    access = ClusterAccess(
        server=f"https://127.0.0.1:{port}", credentials=ServiceAccountCredentials(folder), origin="in-cluster"
    )
    async with ApiClient(access, user_agent="t", clock=VirtualClock(1000.0)) as client:
        async with client.watch(SERVICES, rv="1", timeout_s=300) as stream:
            more.put_nowait(event("before"))
            names = [seen.object.metadata.name for seen in await anext(stream) if isinstance(seen, Event)]
            await site.stop()  # nobody new is let in; who is in stays
            newer, _ = await serve(new, port)
            (folder / "ca.crt").write_bytes(new.pem)
            assert (await client.raw("GET", "/version")).status == 200
            more.put_nowait(event("after"))
            names += [seen.object.metadata.name for seen in await anext(stream) if isinstance(seen, Event)]
            assert names == ["before", "after"]
            more.put_nowait(b"")
        await newer.cleanup()
    await runner.cleanup()


# Kubeconfig credentials


def bearer(token: str) -> Credential:
    return Credential(Secret(f"Bearer {token}"))


class SlowLoads:
    """Loads of a kubeconfig that take `seconds` each, and when they began."""

    def __init__(self, clock: VirtualClock, seconds: float, *, fails: bool = False) -> None:
        self.began: list[float] = []
        self._clock, self._seconds, self._fails = clock, seconds, fails

    async def __call__(self) -> Credential:
        self.began.append(self._clock.now())
        await self._clock.until(self._clock.now() + self._seconds)
        if self._fails:
            raise AccessError("no answer")
        return bearer("new")


async def test_a_hundred_refused_requests_load_the_kubeconfig_once() -> None:
    clock = VirtualClock(0.0)
    loads = SlowLoads(clock, 2.0)
    old = bearer("old")
    credentials = KubeconfigCredentials(old, loads)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(credentials.renewed(old, clock.now())) for _ in range(100)]
        await clock.advance(10.0)
    assert loads.began == [0.0]
    assert {said(task.result()) for task in tasks} == {"Bearer new"}


async def test_when_the_request_that_loads_is_cancelled_the_next_one_takes_over() -> None:
    clock = VirtualClock(0.0)
    loads = SlowLoads(clock, 2.0)
    old = bearer("old")
    credentials = KubeconfigCredentials(old, loads)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(credentials.renewed(old, clock.now())) for _ in range(3)]
        await clock.advance(1.0)
        tasks[0].cancel()
        await clock.advance(0.5)
        tasks[2].cancel()  # one that only waits
        await clock.advance(10.0)
    assert loads.began == [0.0, 1.0]
    assert tasks[0].cancelled()
    assert tasks[2].cancelled()
    assert said(tasks[1].result()) == "Bearer new"


async def test_a_load_that_fails_is_not_repeated_before_five_seconds_have_passed_and_said_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    now, loads = 0.0, list[float]()

    async def load() -> Credential:
        loads.append(now)
        raise AccessError("the plugin has no idea")

    old = bearer("old")
    credentials = KubeconfigCredentials(old, load)
    for now in (0.0, 1.0, 4.9, 5.0, 6.0, 9.9, 10.0):
        assert await credentials.renewed(old, now) is old
    assert loads == [0.0, 5.0, 10.0]
    said: list[float] = []
    for step in range(3, 25):
        now = step * 5.0
        await credentials.renewed(old, now)
        said += [now] * (len(caplog.records) - 1 - len(said))
    assert said == [60.0, 120.0]


async def test_a_request_that_waited_for_a_long_load_does_not_start_another() -> None:
    clock = VirtualClock(0.0)
    loads = SlowLoads(clock, 10.0, fails=True)
    old = bearer("old")
    credentials = KubeconfigCredentials(old, loads)
    async with asyncio.TaskGroup() as group:
        group.create_task(credentials.renewed(old, clock.now()))
        await clock.advance(6.0)
        late = group.create_task(credentials.renewed(old, clock.now()))
        await clock.advance(20.0)
    assert late.result() is old
    assert loads.began == [0.0]


# Kubeconfig files


async def test_an_explicit_kubeconfig_says_all_there_is(tmp_path: Path) -> None:
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config"))
    assert (access.server, access.namespace, access.origin) == ("https://api.test:6443", "spaces", "kubeconfig")
    assert shown(access) == f"Bearer {SECRET}"
    assert access.tls == Tls(ca_pem=AUTHORITY.pem)


async def test_a_path_prefix_and_a_server_name_are_kept(tmp_path: Path) -> None:
    cluster = {"server": "https://rancher.test/k8s/clusters/c-1/", "tls-server-name": "inner"}
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config", cluster=cluster))
    assert access.server == "https://rancher.test/k8s/clusters/c-1"
    assert access.tls.server_name == "inner"


async def test_an_explicit_kubeconfig_must_exist(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="does not exist"):
        await load_access(kubeconfig=tmp_path / "nowhere")


NO_FILES = {
    "a name that is too long": ("x" * 5000, "File name too long"),
    "the home of nobody": ("~nosuch-user/config", "home directory"),
    "a zero byte": ("a\0b", "null byte"),
    "a folder": ("/", "is no file"),
    "something behind a file": (f"{__file__}/config", "does not exist"),
}


@pytest.mark.parametrize("name", NO_FILES)
async def test_what_can_be_no_file_is_named_with_its_cause(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, why = NO_FILES[name]
    with pytest.raises(AccessError, match=why):
        await load_access(kubeconfig=path)
    if "\0" not in path:
        monkeypatch.setenv("KUBECONFIG", path)
        with pytest.raises(AccessError, match=why):
            await load_access(service_account_dir=tmp_path)


async def test_a_file_in_a_folder_that_is_closed_to_us_is_named_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def closed(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", closed)  # root, as which tests may run, is let in everywhere
    monkeypatch.setenv("KUBECONFIG", "/closed/config")
    with pytest.raises(AccessError, match=r"/closed/config cannot be looked at \(Permission denied\)"):
        await load_access(service_account_dir=tmp_path)


async def test_a_user_without_a_home_is_told_what_was_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_001)
    with pytest.raises(AccessError, match=r"~/\.kube/config"):
        await load_access(service_account_dir=tmp_path)


async def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.issue("me")
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    files = {"client-certificate-data": certificate, "client-key-data": locked}
    user = {name: base64.b64encode(data).decode() for name, data in files.items()}
    with pytest.raises(AccessError, match="its key is encrypted"):
        await load_access(kubeconfig=kubeconfig(tmp_path / "config", user=user))


def test_what_people_wrote_between_certificates_is_left_alone() -> None:
    pem = "# Főtanúsítvány\n".encode() + AUTHORITY.pem
    assert len(ssl_context(Tls(ca_pem=pem)).get_ca_certs()) == 1


async def test_merged_files_are_read_when_asked_and_the_first_name_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = kubeconfig(tmp_path / "first")
    second = kubeconfig(
        tmp_path / "second",
        cluster={"server": "https://second.test"},
        contexts=[{"name": "two", "context": {"cluster": "c", "user": "u"}}],
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{first}:{second}")
    access = await load_access(context="two")
    assert access.server == "https://api.test:6443"
    assert access.namespace == ""


async def test_a_context_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="three") as caught:
        await load_access(kubeconfig=kubeconfig(tmp_path / "config"), context="three")
    assert SECRET not in str(caught.value)


async def test_the_home_directory_is_the_last_resort(tmp_path: Path) -> None:
    (tmp_path / "home/.kube").mkdir(parents=True)
    kubeconfig(tmp_path / "home/.kube/config")
    assert (await load_access()).server == "https://api.test:6443"


@pytest.mark.parametrize(
    "server",
    ["", "127.0.0.1:6443", "ftp://api.test", "https://", "https://:6443", "https://a:99999", "https://a:0", "/x"],
)
async def test_a_server_that_is_no_url_is_told_at_once(tmp_path: Path, server: str) -> None:
    file = kubeconfig(tmp_path / "config", cluster={"server": server})
    with pytest.raises(AccessError, match=r"its server is no URL|Port out of range"):
        await load_access(kubeconfig=file)


async def test_a_kubeconfig_can_be_preferred_to_the_service_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    folder = service_account(tmp_path / "sa")
    assert (await load_access(prefer="kubeconfig", service_account_dir=folder)).origin == "in-cluster"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config")))
    assert (await load_access(prefer="kubeconfig", service_account_dir=folder)).origin == "kubeconfig"
    assert (await load_access(service_account_dir=folder)).origin == "in-cluster"


async def test_when_nothing_is_found_each_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        await load_access(service_account_dir=tmp_path)
    for place in ("KUBERNETES_SERVICE_HOST", "$KUBECONFIG is not set", str(tmp_path / "home/.kube/config")):
        assert place in str(caught.value)


@pytest.mark.parametrize("prefer", ["in-cluster", "kubeconfig"])
async def test_a_variable_that_names_only_files_that_are_not_there_never_leads_to_another_cluster(
    prefer: Literal["in-cluster", "kubeconfig"], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home/.kube").mkdir(parents=True)
    kubeconfig(tmp_path / "home/.kube/config")
    if prefer == "kubeconfig":
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("KUBECONFIG", f"/nowhere/a::{tmp_path}")
    with pytest.raises(AccessError) as caught:
        await load_access(prefer=prefer, service_account_dir=service_account(tmp_path / "sa"))
    told = str(caught.value)
    assert f"/nowhere/a does not exist, {tmp_path} is no file: name a file that can be read, or unset it" in told
    assert ("KUBERNETES_SERVICE_HOST" in told) == (prefer == "in-cluster"), "what was asked before is named too"


async def test_a_variable_that_names_no_file_at_all_is_refused_and_an_empty_one_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home/.kube").mkdir(parents=True)
    kubeconfig(tmp_path / "home/.kube/config")
    monkeypatch.setenv("KUBECONFIG", ":")
    with pytest.raises(AccessError, match=r"\$KUBECONFIG \(:\) names no file"):
        await load_access()
    monkeypatch.setenv("KUBECONFIG", "")
    assert (await load_access()).server == "https://api.test:6443"


async def test_inline_certificates_leave_no_file_behind_and_load_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = tmp_path / "tmp"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    certificate, key = AUTHORITY.issue("me")
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    path = kubeconfig(tmp_path / "config", user=user)
    for _ in range(2):
        access = await load_access(kubeconfig=path)
        assert access.tls.client_cert == (certificate, key)
        assert list(private.iterdir()) == []


def plugin(path: Path, script: str) -> dict[str, Any]:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path)}}


async def test_a_plugin_gives_the_token_and_is_asked_again_after_a_refusal(tmp_path: Path) -> None:
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    (tmp_path / "answer").write_text(json.dumps(answer))
    user = plugin(tmp_path / "plugin", f"cat {tmp_path}/answer")
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config", user=user))
    first = access.credentials.current(0.0)
    assert said(first) == "Bearer from-plugin"
    assert await access.credentials.renewed(first, 10.0) is first
    answer["status"] = {"token": "newer"}
    (tmp_path / "answer").write_text(json.dumps(answer))
    assert said(await access.credentials.renewed(first, 20.0)) == "Bearer newer"


async def test_a_plugin_that_hangs_is_ended_when_its_time_is_over_and_never_blocks_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert kubeconfig_module.LOAD_TIMEOUT == 30.0
    monkeypatch.setattr(kubeconfig_module, "LOAD_TIMEOUT", 2.0)
    user = plugin(tmp_path / "plugin", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    other = asyncio.get_running_loop().create_task(others())
    with pytest.raises(AccessError, match="took longer"):
        await load_access(kubeconfig=kubeconfig(tmp_path / "config", user=user))
    other.cancel()
    assert turns > 5
    await only(numbers(tmp_path / "pid"))


async def test_of_a_plugin_that_hangs_one_runs_at_a_time_however_often_it_is_asked(tmp_path: Path) -> None:
    said = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "old"}}'
    script = f"if [ -e {tmp_path}/hangs ]; then echo $$ >> {tmp_path}/pids; exec sleep 600; fi; echo '{said}'"
    user = plugin(tmp_path / "plugin", script)
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config", user=user))
    old = access.credentials.current(0.0)
    (tmp_path / "hangs").touch()
    for started in (1, 2, 3):
        async with asyncio.TaskGroup() as group:
            moments = [100.0 * started + 10.0 * number for number in range(3)]  # more apart than two loads have to be
            asking = [group.create_task(access.credentials.renewed(old, now)) for now in moments]
            pids = await begun(tmp_path / "pids", started)
            await only(pids, pids[-1])
            for task in reversed(asking):  # the last is the one that runs it, or another would take over
                task.cancel()
    await only(numbers(tmp_path / "pids"))


async def test_a_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    certificate, key = (each.decode() for each in AUTHORITY.issue("me"))
    status = {"clientCertificateData": certificate, "clientKeyData": key}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (tmp_path / "answer").write_text(json.dumps(answer))
    user = plugin(tmp_path / "plugin", f"cat {tmp_path}/answer")
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config", user=user))
    assert access.tls.client_cert == (certificate.encode(), key.encode())
    assert shown(access) is None


async def test_what_a_plugin_complains_of_is_told_with_the_kubeconfig(tmp_path: Path) -> None:
    user = plugin(tmp_path / "plugin", "echo log in first >&2; exit 3")
    path = kubeconfig(tmp_path / "config", user=user)
    with pytest.raises(AccessError) as caught:
        await load_access(kubeconfig=path)
    assert (
        str(caught.value)
        == f"kubeconfig '{path}' cannot be used: plugin {tmp_path}/plugin ended with code 3: log in first"
    )


BROKEN = {
    "not YAML": f"token: {SECRET}\n  : [",
    "a list": f"[{SECRET}]",
    "nothing": "",
    "a user without a name": f"current-context: one\ncontexts: []\nclusters: []\nusers: [{{user: {{token: {SECRET}}}}}]",
    "a context without a cluster": (
        f"current-context: one\nclusters: []\nusers: [{{name: u, user: {{token: {SECRET}}}}}]\n"
        f"contexts: [{{name: one, context: {{user: u, odd: {SECRET}}}}}]"
    ),
    "base64 that is none": (
        "current-context: one\nclusters: [{name: c, cluster: {server: 'https://x', "
        f"certificate-authority-data: '{SECRET}!'}}}}]\n"
        "users: []\ncontexts: [{name: one, context: {cluster: c}}]"
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_file_that_is_no_kubeconfig_is_an_error_without_its_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(BROKEN[name])
    with pytest.raises(AccessError) as caught:
        await load_access(kubeconfig=path)
    assert str(path) in str(caught.value)
    error: BaseException | None = caught.value
    assert SECRET not in str(error)
    assert error is not None
    assert error.__suppress_context__


async def test_a_proxy_comes_from_the_file_or_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    named = kubeconfig(tmp_path / "named", cluster={"proxy-url": "http://named.test:3128"})
    assert (await load_access(kubeconfig=named)).proxy == "http://named.test:3128"
    plain = kubeconfig(tmp_path / "plain")
    assert (await load_access(kubeconfig=plain)).proxy == "http://environment.test:3128"
    monkeypatch.setenv("NO_PROXY", ".test")
    assert (await load_access(kubeconfig=plain)).proxy is None
    odd = kubeconfig(tmp_path / "odd", cluster={"proxy-url": "socks5://named.test:1080"})
    with pytest.raises(AccessError, match="neither http:// nor https://"):
        await load_access(kubeconfig=odd)
    local = kubeconfig(tmp_path / "local", cluster={"server": "https://127.0.0.1:6443"})
    monkeypatch.delenv("NO_PROXY")
    assert (await load_access(kubeconfig=local)).proxy is None


async def test_verification_that_is_switched_off_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cluster = {"server": "https://api.test", "insecure-skip-tls-verify": True}
    access = await load_access(kubeconfig=kubeconfig(tmp_path / "config", cluster=cluster))
    assert not access.tls.verify
    assert [record for record in caplog.records if getattr(record, "code", "") == "tlsNotVerified"]


async def test_nothing_that_is_printed_contains_a_secret(tmp_path: Path) -> None:
    certificate, key = AUTHORITY.issue("me")
    tls = Tls(ca_pem=AUTHORITY.pem, client_cert=(certificate, key))
    access = fixed_access("https://api.test", token=SECRET, tls=tls)
    loaded = await load_access(kubeconfig=kubeconfig(tmp_path / "config"))
    printed = " ".join(
        repr(each)
        for each in (
            access,
            access.tls,
            access.credentials,
            access.credentials.current(0.0),
            loaded,
            loaded.credentials,
        )
    )
    assert SECRET not in printed
    assert "PRIVATE KEY" not in printed
    assert "authorization=[redacted]" in printed


def test_a_context_for_the_wire_asks_for_what_we_need() -> None:
    context = ssl_context(Tls(ca_pem=AUTHORITY.pem))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert len(context.get_ca_certs()) == 1
