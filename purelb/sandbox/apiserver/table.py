# SPDX-License-Identifier: Apache-2.0
"""What `kubectl get` shows: columns and cells per kind; printer columns of custom resources are in `columns`.

Ages are text made at the time of the answer, as in the real server. A kind without columns here has NAME and AGE.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.columns import age, custom_cell
from purelb.sandbox.apiserver.definitions import Column
from purelb.sandbox.apiserver.kinds import Kind

Cells = Callable[[Obj, datetime], Sequence[object]]


# --- built-in kinds --------------------------------------------------------------------------------------------------


def _columns(*words: str) -> tuple[Column, ...]:
    """`Name`, `Age` and the like; a trailing `+` means wide output only."""
    return tuple(
        Column(
            word.rstrip("+"),
            "string",
            "",
            "name" if word == "Name" else "",
            "",
            1 if word.endswith("+") else 0,
        )
        for word in words
    )


def _join(items: Sequence[object], *, most: int = 0, none: str = "<none>") -> str:
    texts = [str(item) for item in items]
    if most and len(texts) > most:
        return f"{','.join(texts[:most])} + {len(texts) - most} more..."
    return ",".join(texts) or none


def _labels(found: Obj | None) -> str:
    return _join([f"{key}={value}" for key, value in sorted((found or {}).items())])


def _selector(found: Obj | None) -> str:
    return _labels((found or {}).get("matchLabels"))


def _name_age(obj: Obj, at: datetime) -> tuple[str, str]:
    return obj["metadata"]["name"], age(obj["metadata"].get("creationTimestamp"), at)


def _service(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    spec = obj["spec"]
    ports = [
        f"{port['port']}:{port['nodePort']}/{port['protocol']}"
        if port.get("nodePort")
        else f"{port['port']}/{port['protocol']}"
        for port in spec.get("ports") or ()
    ]
    outside = list(spec.get("externalIPs") or ())
    external = _join(outside)
    if spec["type"] == "LoadBalancer":
        entries = obj["status"].get("loadBalancer", {}).get("ingress") or []
        given = [entry.get("ip") or entry.get("hostname", "") for entry in entries]
        external = _join([*dict.fromkeys(given), *outside], none="<pending>")
    elif spec["type"] == "ExternalName":
        external = spec.get("externalName", "")
    return (
        name,
        spec["type"],
        spec.get("clusterIP") or "<none>",
        external,
        _join(ports),
        old,
        _labels(spec.get("selector")),
    )


def _node(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    status = obj.get("status") or {}
    ready = [one for one in status.get("conditions") or () if one.get("type") == "Ready"]
    words = [("Ready" if one.get("status") == "True" else "NotReady") for one in ready] or ["Unknown"]
    if (obj.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in obj["metadata"].get("labels") or {} if key.startswith(prefix))
    info = status.get("nodeInfo") or {}
    inside, outside = (
        next((one["address"] for one in status.get("addresses") or () if one.get("type") == wanted), "<none>")
        for wanted in ("InternalIP", "ExternalIP")
    )
    unknown = "<unknown>"
    return (
        name, ",".join(words), _join(roles), old, info.get("kubeletVersion", ""), inside, outside,
        info.get("osImage") or unknown, info.get("kernelVersion") or unknown, info.get("containerRuntimeVersion") or unknown,
    )  # fmt: skip


def _pod(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    seen = status.get("containerStatuses") or []
    ready = sum(bool(one.get("ready")) for one in seen)
    phase = status.get("reason") or status.get("phase", "Unknown")
    for one in seen:
        waiting = (one.get("state") or {}).get("waiting") or (one.get("state") or {}).get("terminated") or {}
        phase = waiting.get("reason") or phase
    if obj["metadata"].get("deletionTimestamp"):
        phase = "Terminating"
    restarts = sum(int(one.get("restartCount", 0)) for one in seen)
    return (
        name, f"{ready}/{max(len(spec.get('containers') or ()), len(seen))}", phase, restarts, old,
        status.get("podIP") or "<none>", spec.get("nodeName") or "<none>", status.get("nominatedNodeName") or "<none>", "<none>",
    )  # fmt: skip


def _workload(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    wide = (
        _join([one.get("name") for one in containers]),
        _join([one.get("image") for one in containers]),
        _selector(spec.get("selector")),
    )
    if obj["kind"] == "DaemonSet":
        node = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
        numbers = [
            status.get(f"{word}", 0)
            for word in (
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            )
        ]
        return (name, *numbers, _labels(node), old, *wide)
    wanted = spec.get("replicas", 1)
    if obj["kind"] == "ReplicaSet":
        return name, wanted, status.get("replicas", 0), status.get("readyReplicas", 0), old, *wide
    return (
        name,
        f"{status.get('readyReplicas', 0)}/{wanted}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        old,
        *wide,
    )


def _event(obj: Obj, at: datetime) -> Sequence[object]:
    series, source = obj.get("series") or {}, obj.get("source") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    regarding = obj.get("involvedObject") or {}
    count = series.get("count") or obj.get("count") or 1
    seen = age(last, at) if last != first else age(first, at)
    return (
        seen, obj.get("type", ""), obj.get("reason", ""),
        f"{regarding.get('kind', '').lower()}/{regarding.get('name', '')}", regarding.get("fieldPath", ""),
        ", ".join(filter(None, (source.get("component") or obj.get("reportingComponent"), source.get("host") or obj.get("reportingInstance")))),
        obj.get("message", "").strip(), age(first, at), count, obj["metadata"]["name"],
    )  # fmt: skip


def _slice(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    ports = [port.get("port", "*") for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return (
        name,
        obj.get("addressType", ""),
        _join(ports, most=3, none="<unset>"),
        _join(addresses, most=3, none="<unset>"),
        old,
    )


def _lease(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    return name, (obj.get("spec") or {}).get("holderIdentity") or "", old


def _namespace(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    return name, (obj.get("status") or {}).get("phase", ""), old


def _definition(obj: Obj, _at: datetime) -> Sequence[object]:
    return obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")


def _data(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    size = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return (name, obj.get("type", ""), size, old) if obj["kind"] == "Secret" else (name, size, old)


def _role_binding(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    role = obj.get("roleRef") or {}
    return name, f"{role.get('kind', '')}/{role.get('name', '')}", old


def _priority(obj: Obj, at: datetime) -> Sequence[object]:
    name, old = _name_age(obj, at)
    return name, obj.get("value", 0), str(bool(obj.get("globalDefault"))).lower(), old


_WIDE = ("Containers+", "Images+", "Selector+")
_TABLES: dict[str, tuple[tuple[Column, ...], Cells]] = {
    "services": (_columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector+"), _service),
    "nodes": (
        _columns("Name", "Status", "Roles", "Age", "Version", "Internal-IP+", "External-IP+", "OS-Image+", "Kernel-Version+", "Container-Runtime+"),
        _node,
    ),
    "pods": (_columns("Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"), _pod),
    "namespaces": (_columns("Name", "Status", "Age"), _namespace),
    "deployments.apps": (_columns("Name", "Ready", "Up-to-date", "Available", "Age", *_WIDE), _workload),
    "daemonsets.apps": (
        _columns("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age", *_WIDE),
        _workload,
    ),
    "replicasets.apps": (_columns("Name", "Desired", "Current", "Ready", "Age", *_WIDE), _workload),
    "leases.coordination.k8s.io": (_columns("Name", "Holder", "Age"), _lease),
    "events": (
        _columns("Last Seen", "Type", "Reason", "Object", "Subobject+", "Source+", "Message", "First Seen+", "Count+", "Name+"),
        _event,
    ),
    "endpointslices.discovery.k8s.io": (_columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _slice),
    "customresourcedefinitions.apiextensions.k8s.io": (_columns("Name", "Created At"), _definition),
    "configmaps": (_columns("Name", "Data", "Age"), _data),
    "secrets": (_columns("Name", "Type", "Data", "Age"), _data),
    "clusterrolebindings.rbac.authorization.k8s.io": (_columns("Name", "Role", "Age"), _role_binding),
    "rolebindings.rbac.authorization.k8s.io": (_columns("Name", "Role", "Age"), _role_binding),
    "priorityclasses.scheduling.k8s.io": (_columns("Name", "Value", "Global-Default", "Age"), _priority),
}  # fmt: skip
_PLAIN = (_columns("Name", "Age"), _name_age)


def columns_of(kind: Kind, custom: Sequence[Column]) -> list[Obj]:
    """`columnDefinitions` of a Table."""
    shown: Sequence[Column]
    if kind.custom:
        shown = (_columns("Name")[0], *(custom or (_columns("Age")[0],)))
    else:
        shown = _TABLES.get(kind.key, _PLAIN)[0]
    return [
        {
            "name": column.name,
            "type": "date" if kind.custom and not custom and column.name == "Age" else column.type,
            "format": column.format,
            "description": column.description or _described(column),
            "priority": column.priority,
        }
        for column in shown
    ]


def _described(column: Column) -> str:
    return f"Custom resource definition column (in JSONPath format): {column.path}" if column.path else column.name


def cells_of(kind: Kind, custom: Sequence[Column], obj: Obj, at: datetime) -> Sequence[object]:
    """The cells of one row. An object whose fields have odd shapes shows its name and nothing else, and only its row does."""
    if kind.custom:
        name, old = _name_age(obj, at)
        return [name, *([custom_cell(obj, column, at) for column in custom] if custom else [old])]
    columns, cells = _TABLES.get(kind.key, _PLAIN)
    try:
        return cells(obj, at)
    except (AttributeError, KeyError, TypeError, ValueError):
        return [obj["metadata"]["name"], *([None] * (len(columns) - 1))]
