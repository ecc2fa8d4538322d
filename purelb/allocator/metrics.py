# SPDX-License-Identifier: Apache-2.0
"""The allocator's metrics as data. Names with a history keep it; gauges are computed when scraped."""

from typing import Final

from purelb.kube.metrics import Metric

_OUTCOMES: Final = ("assigned", "adopted", "released", "refused")
_WRITES: Final = ("success", "conflict", "forbidden", "other")

POOL_SIZE: Final = Metric(
    name="purelb_address_pool_size", kind="gauge", labels=("pool",), help="Allocatable addresses, both families."
)
POOL_IN_USE: Final = Metric(
    name="purelb_address_pool_addresses_in_use", kind="gauge", labels=("pool",), help="Addresses held, both families."
)
POOL_ADDRESSES: Final = Metric(
    name="purelb_address_pool_addresses",
    kind="gauge",
    labels=("pool", "family", "state"),
    help="Addresses by state: in_use, available, unavailable (excluded, quarantined, somebody else's).",
)
REJECTED: Final = Metric(
    name="purelb_address_pool_allocation_rejected_total",
    kind="counter",
    labels=("pool", "reason"),
    help="Refusals, once per change of answer and Service.",
)
BALANCED: Final = Metric(
    name="purelb_address_pool_balance_pools_allocations_total",
    kind="counter",
    labels=("pool",),
    help="Addresses taken from the emptiest entry.",
)
MULTIPOOL: Final = Metric(
    name="purelb_address_pool_multipool_allocations_total",
    kind="counter",
    labels=("pool",),
    help="Statuses written with new addresses of Services that take one of each entry.",
)
MULTIPOOL_PARTIAL: Final = Metric(
    name="purelb_address_pool_multipool_partial_total",
    kind="counter",
    labels=("pool",),
    help="Those of them that lacked an entry or a family.",
)
OUT_OF_SCOPE: Final = Metric(
    name="purelb_servicegroups_out_of_scope",
    kind="gauge",
    labels=("namespace", "name", "type"),
    help="1 for each group outside the namespaces that are read; type: local, remote, netbox, external, none.",
)
GROUP_ACCEPTED: Final = Metric(
    name="purelb_servicegroup_accepted", kind="gauge", labels=("pool",), help="1 when the group is used, else 0."
)
STATUS_WRITES: Final = Metric(
    name="purelb_allocator_sg_status_writes_total",
    kind="counter",
    labels=("outcome",),
    help="Writes of group status.",
    known=tuple((word,) for word in _WRITES),
)
SERVICES: Final = Metric(
    name="purelb_allocator_services",
    kind="gauge",
    labels=("state",),
    help="Our Services: allocated, partial (a family is missing), pending.",
)
PENDING: Final = Metric(
    name="purelb_allocator_services_pending", kind="gauge", labels=("reason",), help="Services without what they want."
)
OLDEST_PENDING: Final = Metric(
    name="purelb_allocator_oldest_pending_seconds",
    kind="gauge",
    labels=("reason",),
    help="Longest wait that this leader has seen, by reason.",
)
ALLOCATIONS: Final = Metric(
    name="purelb_allocator_allocations_total",
    kind="counter",
    labels=("source", "outcome"),
    help="What became of wishes.",
    known=tuple(("local", word) for word in _OUTCOMES),
)
TIME_TO_ADDRESS: Final = Metric(
    name="purelb_allocator_time_to_address_seconds",
    kind="histogram",
    labels=("source",),
    help="From seeing a Service to its status being written.",
)
ADDRESSES: Final = Metric(
    name="purelb_allocator_addresses",
    kind="gauge",
    labels=("state",),
    help="Addresses in use: announced, unannounced, conflicting (two local announcers). A shared one counts once.",
)
UNANNOUNCED: Final = Metric(
    name="purelb_allocator_addresses_unannounced",
    kind="gauge",
    labels=("reason",),
    help="Addresses in use that are not announced as they should be, by the reason that their Service gives.",
)
DOUBLE: Final = Metric(
    name="purelb_allocator_double_assignments", kind="gauge", help="Addresses of two Services that may not share."
)
REBUILD: Final = Metric(
    name="purelb_allocator_ledger_rebuild_seconds", kind="gauge", help="Length of the last rebuild."
)
OVERRIDES: Final = Metric(
    name="purelb_allocator_traffic_policy_overrides_total",
    kind="counter",
    help="externalTrafficPolicy set from Local to Cluster.",
    known=((),),
)
METRICS: Final[tuple[Metric, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
