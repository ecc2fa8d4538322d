# SPDX-License-Identifier: Apache-2.0
"""The numbers that operators were promised. What happens at each of them other tests say, by its name: they follow a change."""

from __future__ import annotations

import pytest

from purelb.process import configfile, connections, lag, logs, metrics, preflight, scrapers, signals, statedoc, tls

PROMISED = {
    "connections to the listener at a time": (connections.CONNECTIONS_MAX, 64),
    "seconds for a request": (connections.REQUEST_S, 5.0),
    "lines of the log a second": (logs.LINES_PER_SECOND, 50.0),
    "lines of the log in a burst": (logs.BURST_LINES, 1000.0),
    "seconds between two reports of suppressed lines": (logs.SUMMARY_EVERY, 60.0),
    "seconds after which a failure that lasts is said again": (logs.REPEAT_AFTER, 600.0),
    "failures that are known to have been said": (logs.REMEMBERED_MAX, 4096),
    "bytes of a line": (logs.LINE_MAX_BYTES, 8 * 1024),
    "bytes of the line with the state": (logs.DUMP_MAX_BYTES, 64 * 1024),
    "characters of a value from outside": (logs.VALUE_MAX_CHARS, 512),
    "series of single Services and addresses": (metrics.SERIES_MAX, 2000),
    "seconds between two looks at how late the loop is": (lag.SAMPLE_EVERY, 0.25),
    "seconds for which the worst lateness is shown": (lag.KEPT_S, 60.0),
    "seconds of debug after SIGUSR2": (signals.DEBUG_FOR_S, 900.0),
    "decisions in the state": (statedoc.DECISIONS_MAX, 500),
    "seconds that a yes to a scraper holds": (scrapers.YES_FOR_S, 60.0),
    "seconds that a no to a scraper holds": (scrapers.NO_FOR_S, 10.0),
    "answers to scrapers that are kept": (scrapers.REMEMBERED_MAX, 256),
    "reviews of scrapers at a time": (scrapers.REVIEWS_MAX, 8),
    "seconds between two looks at the certificate": (tls.LOOK_EVERY, 10.0),
    "seconds between two questions for what is missing": (preflight.AGAIN_AFTER, 10.0),
    "seconds between two questions for what is in doubt": (preflight.DOUBT_EVERY, 60.0),
    "bytes of a settings file": (configfile.FILE_MAX_BYTES, 5 * 1024 * 1024),
}


@pytest.mark.parametrize("what", PROMISED)
def test_a_number_is_as_promised(what: str) -> None:
    number, promised = PROMISED[what]
    assert number == promised
