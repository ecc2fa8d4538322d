# SPDX-License-Identifier: Apache-2.0
"""A real API server is killed, frozen, made to forget and made to refuse, while 2,000 Services change and are marked.

The story and its end are the same each time (`loaded.ordeal`): stores equal the server and every mark is right; no write was
sent again after an answer that settled it, none after its fence or beside another leader's; at rest only leases are written;
no task, socket or memory is left. The control plane is one of this file's own, as nobody else would enjoy it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from hack import binaries
from hack.control_plane import ControlPlane
from purelb.kube.errors import Expired, TooManyRequests
from purelb.kube.resources import SERVICES
from tests.conformance.conftest import unavailable
from tests.conformance.loaded import ACCOUNT, COUNT, PATH, Loaded, ordeal, populate
from tests.conformance.test_kube_runtime import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from purelb.kube.decode import Page
    from purelb.kube.model import Service

pytestmark = pytest.mark.timeout(300)

PRIORITIES: Final = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
READERS: Final = 10
FLOWS: Final = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if why := binaries.missing():
        unavailable(why)
    with ControlPlane.start(tmp_path_factory.mktemp("loaded")) as running:
        populate(running)
        yield running


async def started_again(world: Loaded) -> None:
    process = world.plane.launch_api_server()
    await asyncio.to_thread(world.plane.wait_ready, process)


async def killed(world: Loaded) -> None:
    """SIGKILL, and it comes back after 2 s."""
    world.plane.kill_api_server()
    await asyncio.sleep(2.0)
    await started_again(world)
    assert any(each.code is None for each in world.log), "nobody noticed"


async def frozen(world: Loaded) -> None:
    """SIGSTOP for 20 s: connections stay, nobody answers. Leases last 6 s here, so nobody may lead by then."""
    before = [len(marker.lost) for marker in world.markers]

    def lost() -> list[list[str]]:
        since = (marker.lost[count:] for marker, count in zip(world.markers, before, strict=True))
        return [why for why in since if why]

    world.plane.freeze_api_server()
    try:
        await until("the leader has given up", lambda: bool(lost()))
        began = len(world.log)
        await asyncio.sleep(14.0)
        late = [each.path for each in world.log[began:] if each.method == "PATCH" and each.path.startswith(PATH)]
        assert late == [], "a write without a term"
    finally:
        world.plane.thaw_api_server()
    assert lost() == [["deadline"]]


async def compacted(world: Loaded) -> None:
    """The past is gone: a continue token answers 410 in the middle of a list, and so do the watches when they come back."""
    client = world.clients[0]
    books = [client.list_pages(SERVICES, limit=100) for _ in range(READERS)]
    firsts = [await anext(book) for book in books]
    streams = [each for each in world.log if "sendInitialEvents" in each.query]
    await asyncio.to_thread(world.plane.stop_api_server)
    world.plane.compact()
    await started_again(world)
    with pytest.raises(Expired):
        await client.list_page(SERVICES, limit=100, continue_=firsts[0].continue_)
    assert await read_anew(books) == (COUNT + 1, None)
    await until(
        "both components were told that their version is gone, and began anew",
        lambda: len([each for each in world.log if "sendInitialEvents" in each.query]) >= len(streams) + 4,
    )


async def read_anew(books: Iterable[AsyncIterator[Page[Service]]]) -> tuple[int, str | None]:
    """What the next page of the first book holds that can be read on: a server that fills its cache refuses whole lists."""
    for book in books:
        try:
            whole = await anext(book)
        except TooManyRequests:
            await asyncio.sleep(1.0)
        else:
            return len(whole.objects), whole.continue_
    raise AssertionError("the server fills its cache all the time")


async def starved(world: Loaded) -> None:
    """The components get no seat for a while and then the fewest there are: what comes meanwhile is 429, with Retry-After.

    How many are refused is nobody's promise: a client that was told to wait sends little, and what it sends may find a seat."""
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    limited["limitResponse"] = {"type": "Reject"}  # type: ignore[assignment]
    world.admin.post(
        PRIORITIES, {"metadata": {"name": "starved"}, "spec": {"type": "Limited", "limited": limited}}
    ).ok()
    who = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "default", "name": ACCOUNT}}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    rules = [{"subjects": [who], "resourceRules": [everything]}]
    schema = {"priorityLevelConfiguration": {"name": "starved"}, "matchingPrecedence": 10, "rules": rules}
    world.admin.post(FLOWS, {"metadata": {"name": "starved"}, "spec": schema}).ok()
    try:
        await until(
            "marks are refused", lambda: any(each.code == 429 and each.path.startswith(PATH) for each in world.log)
        )
        await asyncio.sleep(2.0)
        for marker in world.markers:
            marker.services.relist("the test wants it while there are no seats")
        began = len(world.log)
        world.admin.patch(f"{PRIORITIES}/starved", {"spec": {"limited": {"nominalConcurrencyShares": 1}}}).ok()
        # Retry-After grows with what was refused: at most 32 s
        await until("somebody sits on it", lambda: any(each.code == 200 for each in world.log[began:]), within_s=60.0)
    finally:
        world.admin.delete(f"{FLOWS}/starved").ok()
        world.admin.delete(f"{PRIORITIES}/starved").ok()


FAULTS: Final[dict[str, Callable[[Loaded], Awaitable[None]]]] = {
    "killed and started again": killed,
    "frozen for 20 s": frozen,
    "compacted in the middle of lists and watches": compacted,
    "starved by priority and fairness": starved,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_under_load_nothing_is_lost_doubled_or_left_behind_when_the_api_server_is(
    plane: ControlPlane, fault: str
) -> None:
    await ordeal(plane, FAULTS[fault])
