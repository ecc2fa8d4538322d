# SPDX-License-Identifier: Apache-2.0
"""The allocator as a process: phases, readiness, exit codes, and a stop while its API server stands still."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.promtool import complaints, frozen
from tests.whole.real import Api, api_server, component

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.timeout(40)
# Who was ended at once keeps the lease: its successor waits for that long.
LEASE = ("--leader-lease-duration=3s", "--leader-renew-deadline=2s", "--leader-retry-period=1s")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api_server(tmp_path_factory.mktemp("api")) as made:
        made.install()
        yield made


def test_definitions_that_differ_are_exit_1_and_those_that_do_not_are_0(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert api.purelb("crds", "--diff").returncode == 0
    with api_server(tmp_path_factory.mktemp("empty")) as empty:
        assert empty.purelb("crds", "--diff").returncode == 1


def test_an_allocator_says_each_phase_and_ends_with_0(api: Api) -> None:
    with component("allocator", api, *LEASE) as it:
        it.wait_for("phaseChanged", phase="Running")
        it.wait_ready()
        it.process.send_signal(signal.SIGTERM)
        assert it.end(within_s=10) == 0
        phases = [line["phase"] for line in it.lines if line["code"] == "phaseChanged"]
        assert phases == ["Syncing", "Standby", "Running", "Draining", "Stopped"]
        assert "shutdownStepCut" not in {line["code"] for line in it.lines}


@pytest.mark.promtool
def test_promtool_complains_about_nothing_in_a_scrape_of_an_allocator(api: Api) -> None:
    with component("allocator", api, *LEASE) as it:
        it.wait_for("phaseChanged", phase="Running")
        status, scrape = it.get("/metrics")
    assert status == 200
    assert 'purelb_allocator_services{state="allocated"}' in scrape
    assert complaints(scrape) == frozen().get("allocator", set())
    series = [line.rpartition(" ")[0] for line in scrape.splitlines() if not line.startswith("#")]
    assert len(set(series)) == len(series), "a series twice"


def test_two_interrupts_end_it_at_once_with_130(api: Api) -> None:
    with component("allocator", api, *LEASE) as it:
        it.wait_for("phaseChanged", phase="Running")
        with api.standing_still():
            it.process.send_signal(signal.SIGINT)
            it.wait_for("phaseChanged", phase="Draining")
            it.process.send_signal(signal.SIGINT)
            assert it.end(within_s=20) == 130
    codes = [line["code"] for line in it.lines]
    assert codes[-1] == "stoppedAtOnce"
    assert "shutdownStepCut" not in codes, "it waited for a step that could not end"


@pytest.mark.parametrize("budget", [1.5, 10.0])
def test_while_the_api_server_stands_still_it_drains_alive_and_unready_and_ends_with_0_in_its_budget(
    api: Api, budget: float
) -> None:
    with component("allocator", api, *LEASE, f"--shutdown-budget={budget}s") as it:
        it.wait_for("phaseChanged", phase="Running")
        it.wait_ready()
        with api.standing_still():
            began = time.monotonic()
            it.process.send_signal(signal.SIGTERM)
            it.wait_for("phaseChanged", phase="Draining")
            assert it.get("/healthz") == (200, "ok\n")
            status, text = it.get("/readyz")
            assert (status, text.splitlines()[0]) == (503, "phase: the phase is Draining")
            assert it.end(within_s=budget + 5) == 0
            took = time.monotonic() - began
        cut = {line["step"] for line in it.lines if line["code"] == "shutdownStepCut"}
        assert cut & {"lease", "budget"}, it.lines
        assert took < budget + 3.0, "half a second for the cancelled, one for sockets, the rest for a busy machine"
