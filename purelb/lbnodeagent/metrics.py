# SPDX-License-Identifier: Apache-2.0
"""The agent's metrics as data. Names with a history keep it; gauges are computed when scraped."""

from __future__ import annotations

from typing import Final

from purelb.kube.metrics import Metric
from purelb.lbnodeagent.deaf import CAUSES

REPAIRS: Final = ("address_removed", "link_up", "link_recreated", "attributes_changed")
TAKEOVERS: Final = ("drain", "heartbeat", "lease", "move", "policy")
STATES: Final = ("fit", "holding", "fenced", "draining")
SELECTOR_STATES: Final = ("default", "configured", "deselected", "invalid")
PEER_STATES: Final = ("alive", "suspect", "dead", "draining")


def _counter(name: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Metric:
    return Metric(
        name=f"purelb_{name}", kind="counter", labels=labels, help=text, known=tuple((value,) for value in known)
    )


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"purelb_{name}", kind="gauge", labels=labels, help=text)


ANNOUNCED: Final = Metric(
    name="purelb_lbnodeagent_announced",
    kind="gauge",
    labels=("service", "node", "ip"),
    help="1 while in the kernel by our hand.",
    per_object=True,
)
ANNOUNCED_IPS: Final = _gauge("announced_ips_total", "Addresses with our tag that should be there.")
ORPHANED_IPS: Final = _gauge("orphaned_ips_total", "Addresses with our tag that should not be there.")
WITHHELD: Final = _gauge("lbnodeagent_withheld", "Addresses this node should announce but does not.", "reason")
GARP_SENT: Final = _counter("lbnodeagent_garp_sent_total", "Gratuitous ARP sends.")
GARP_ERRORS: Final = _counter("lbnodeagent_garp_errors_total", "Gratuitous ARP sends that failed.")
NA_SENT: Final = _counter("lbnodeagent_na_sent_total", "Unsolicited neighbour advertisements sent.")
NA_ERRORS: Final = _counter("lbnodeagent_na_errors_total", "Neighbour advertisements that failed.")
ADDITIONS: Final = _counter("lbnodeagent_address_additions_total", "Addresses added to the kernel.")
WITHDRAWALS: Final = _counter("lbnodeagent_address_withdrawals_total", "Addresses deleted from the kernel.")
RENEWALS: Final = _counter("lbnodeagent_address_renewals_total", "Lifetimes renewed.")
RENEWAL_ERRORS: Final = _counter("lbnodeagent_address_renewal_errors_total", "Lifetimes that could not be renewed.")
WINS: Final = _counter("lbnodeagent_election_wins_total", "Verdicts that became ours.")
LOSSES: Final = _counter("lbnodeagent_election_losses_total", "Verdicts that ceased to be ours.")
WINNER_CHANGES: Final = _counter("election_winner_changes_total", "Changes of the winner of an address.")
SELECTOR_STATE: Final = _gauge("lbnodeagent_selector_state", "1 for where the configuration comes from.", "state")
KERNEL_REPAIRS: Final = _counter("lbnodeagent_kernel_repairs_total", "Put back.", "cause", known=REPAIRS)
KERNEL_ERRORS: Final = _counter("lbnodeagent_kernel_errors_total", "Refused by the kernel.", "operation", "errno")
OVERRUNS: Final = _counter("lbnodeagent_netlink_overruns_total", "Events lost, everything read again.")
REPORT_WRITES: Final = _counter(
    "lbnodeagent_report_writes_total", "Writes of LBNodeStatus.", "outcome", known=("success", "failure")
)
APPLY: Final = Metric(
    name="purelb_lbnodeagent_apply_duration_seconds", kind="histogram", help="Difference to kernel acknowledgement."
)
TAKEOVER: Final = Metric(
    name="purelb_lbnodeagent_takeover_duration_seconds",
    kind="histogram",
    labels=("cause",),
    help="Last sign of life, or mark of a hand-over, of the old holder to the address in our kernel.",
    known=tuple((cause,) for cause in TAKEOVERS),
)
TAKEOVER_COUNT: Final = _counter(
    "lbnodeagent_takeovers_total", "Addresses taken over from another node.", "cause", known=TAKEOVERS
)
CONFLICTS: Final = _gauge("lbnodeagent_address_conflicts", "Addresses another host answers for.")
FAILURE_STATE: Final = _gauge("lbnodeagent_failure_state", "1 for the current one.", "state")
HANDOVER_STALLED: Final = _counter("lbnodeagent_handover_stalled_total", "Offers that nobody took within 2 s.")
DEAF_GAPS: Final = _counter(
    "lbnodeagent_deaf_gaps_total", "Times the agent did not run, or was not seen, for too long.", "cause", known=CAUSES
)
LEASE_DURATION: Final = _gauge("election_lease_duration_seconds", "How long our lease lasts.")
LEASE_HEALTHY: Final = _gauge("election_lease_healthy", "1 while our lease is renewed in time.")
MEMBERS: Final = _gauge("election_member_count", "Agents that are not dead, this one included.")
SUBNETS: Final = _gauge("election_subnet_count", "Subnets that some agent advertises.")
LOCAL_SUBNETS: Final = _gauge("election_local_subnet_count", "Subnets that this agent advertises.")
LEASE_RENEWALS: Final = _counter("election_lease_renewals_total", "Renewals of our lease.")
LEASE_FAILURES: Final = _counter("election_lease_renewal_failures_total", "Renewals that failed.")
PEERS: Final = _gauge("election_peers", "Other agents by verdict.", "state")
AFFINITY_FALLBACK: Final = Metric(
    name="purelb_election_affinity_fallback_total",
    kind="counter",
    labels=("service",),
    help="Times no node with an endpoint could hold the address of a Service that prefers them.",
    per_object=True,
)
SLICES_SYNC: Final = Metric(
    name="purelb_endpointslice_sync_total", kind="counter", help="Lists of EndpointSlices that came.", sampled=True
)
SLICES_SYNC_ERRORS: Final = Metric(
    name="purelb_endpointslice_sync_errors_total",
    kind="counter",
    help="Lists of EndpointSlices that did not come.",
    sampled=True,
)
SLICES: Final = Metric(
    name="purelb_endpointslice_count",
    kind="gauge",
    labels=("service",),
    help="EndpointSlices of each Service whose slices decide something here.",
    per_object=True,
)
SLICES_AGE: Final = _gauge(
    "endpointslice_cache_age_seconds", "Since the last proof that what is known of EndpointSlices is current."
)

METRICS: Final[tuple[Metric, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
