# SPDX-License-Identifier: Apache-2.0
"""`purelb reference --out DIR`: the pages of the manual that are made from data, so that they cannot say something else.

A page is a pure function of the tables in the sources. `make generated` writes them to docs/reference, and a difference
between that and fresh output fails `make lint`.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from purelb.allocator.metrics import METRICS as ALLOCATOR
from purelb.api.codes import CODES
from purelb.kube.metrics import METRICS as KUBE
from purelb.lbnodeagent.metrics import METRICS as LBNODEAGENT
from purelb.process.command import DONE
from purelb.process.metrics import METRICS as PROCESS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from purelb.kube.metrics import Metric

MADE: Final = "<!-- Made by `purelb reference` from {source}; edit that, then run `make generated`. -->\n\n"
ROOMS: Final = {
    "process": "Every process",
    "kube": "Every process: what it does with the Kubernetes API",
    "allocator": "Allocator",
    "lbnodeagent": "Node agent",
}


def log_codes() -> str:
    """The codes of log lines."""
    text = MADE.format(source="purelb/api/codes.py")
    text += "# Codes of log lines\n\n"
    text += (
        "Each line of the log is a JSON object with a `code` that stays what it is. Lines marked *failure* carry `error` and,\n"
        "where they apply, `errorType`, `attempt` (from 1), `retryIn` and `took` (seconds). A failure that repeats with the same\n"
        "code, subject and reason is written once and then at most every 10 minutes, with the number of lines left out in\n"
        "`repeated`. Lines of level debug are written after `--log-level=debug` or SIGUSR2.\n"
    )
    for who, rows in groupby(CODES, key=lambda row: row.who):
        text += f"\n## {ROOMS[who]}\n\n| Code | | Meaning |\n|---|---|---|\n"
        for row in rows:
            marks = ", ".join(
                mark for mark, given in (("failure", row.failure), ("debug", row.level == "debug")) if given
            )
            text += f"| `{row.code}` | {marks} | {row.means} |\n"
    return text


def metrics() -> str:
    """The metrics of both components."""
    text = MADE.format(source="the metrics.py of each package")
    text += "# Metrics\n\n"
    text += (
        "Counters start at 0 where their label values are known. Series marked *per object* are capped at 2000 per process;\n"
        "what is beyond is counted in `purelb_metrics_series_dropped`, and `--metrics-per-service=false` removes them. The\n"
        "client library of Prometheus adds `process_*`, `python_gc_*` and `python_info`.\n"
    )
    tables = {"process": PROCESS, "kube": KUBE, "allocator": ALLOCATOR, "lbnodeagent": LBNODEAGENT}
    for who, table in tables.items():
        text += f"\n## {ROOMS[who]}\n\n| Name | Type | Labels | Meaning |\n|---|---|---|---|\n"
        text += "".join(map(_metric, sorted(table, key=lambda metric: metric.name)))
    return text


def _metric(metric: Metric) -> str:
    kind = metric.kind + (", per object" if metric.per_object else "")
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {kind} | {labels} | {metric.help} |\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {"log-codes.md": log_codes, "metrics.md": metrics}


class Reference:
    name = "reference"
    help = "write the pages of the manual that are made from data"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, required=True, help="directory for the pages")

    def run(self, arguments: argparse.Namespace) -> int:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, made in PAGES.items():
            (arguments.out / name).write_text(made())
        return DONE


command = Reference()


def main(words: Sequence[str] | None = None) -> int:
    """The same without the entry point of an installed package, for `hack/generated`."""
    import argparse

    parser = argparse.ArgumentParser(prog="purelb reference")
    command.configure(parser)
    return command.run(parser.parse_args(words))


if __name__ == "__main__":
    raise SystemExit(main())
