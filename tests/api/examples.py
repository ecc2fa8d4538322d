# SPDX-License-Identifier: Apache-2.0
"""What admission takes and what it refuses, as data: for every API server that serves our CRDs.

Each example is one object as a user writes it. Suites that have a server create it there; `refused` is text that must stand in the
server's answer, `stored` is what must be found at a path of the stored object, read through v2 (None: the field is absent).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

NAMESPACE = "purelb-system"

Object = Mapping[str, Any]


class Example(Struct, frozen=True, kw_only=True):
    """`name` completes the sentence "admission accepts/refuses ..."."""

    name: str
    kind: str
    spec: Object
    version: str = "v2"
    refused: str | None = None
    stored: Mapping[str, Any] = {}

    @property
    def object(self) -> Object:
        """The object to create, named `example` in the install namespace."""
        return {
            "apiVersion": f"purelb.io/{self.version}",
            "kind": self.kind,
            "metadata": {"name": "example", "namespace": NAMESPACE},
            "spec": self.spec,
        }

    @property
    def plural(self) -> str:
        return {"ServiceGroup": "servicegroups", "LBNodeAgent": "lbnodeagents"}[self.kind]


V4 = {"pool": "192.0.2.0/24", "subnet": "192.0.2.0/24"}
V6 = {"pool": "2001:db8::/64", "subnet": "2001:db8::/64"}
NETBOX = {"url": "https://netbox.example.com", "tenant": "acme"}
EXTERNAL = {"provider": "acme", "announce": "local"}
LOCAL = {"local": {"v4pool": V4}}
SELECTOR = {"matchLabels": {"team": "a"}}
NOT_A_DURATION = "should match"


def group(name: str, spec: Object, *, version: str = "v2", refused: str | None = None, **stored: Any) -> Example:
    """A ServiceGroup; `stored` paths have `__` where others have a dot."""
    paths = {path.replace("__", "."): value for path, value in stored.items()}
    return Example(name=name, kind="ServiceGroup", spec=spec, version=version, refused=refused, stored=paths)


def agent(name: str, local: Object, *, version: str = "v2", refused: str | None = None, **stored: Any) -> Example:
    """An LBNodeAgent with this `spec.local`."""
    paths = {f"local.{path.replace('__', '.')}": value for path, value in stored.items()}
    return Example(name=name, kind="LBNodeAgent", spec={"local": local}, version=version, refused=refused, stored=paths)


def local(**fields: Any) -> Object:
    return {"local": {"v4pool": V4, **fields}}


def v4(**fields: Any) -> Object:
    return {"local": {"v4pool": {**V4, **fields}}}


def v6(**fields: Any) -> Object:
    return {"local": {"v6pool": {**V6, **fields}}}


ONE_SOURCE = "give exactly one of local, remote, netbox, external"
LOCALINT = "localint is the v1 name of localInterface: remove it or make both equal"
EXTLBINT = "extlbint is the v1 name of dummyInterface: remove it or make both equal"

EXAMPLES: tuple[Example, ...] = (
    # sources
    group("a local pool", LOCAL, local__offSubnet="Withhold", local__v4pool__aggregation="default", drain=False),
    group("a remote pool", {"remote": {"v4pools": [V4], "v6pools": [V6]}}, remote__multiPool=False),
    group("a NetBox", {"netbox": NETBOX}, netbox__mode="reserved", netbox__announce="remote", netbox__timeout="10s"),
    group("a sidecar", {"external": EXTERNAL}, external__socket="/var/run/purelb/ipam.sock"),
    group("no source", {}, refused=ONE_SOURCE),
    group("two sources", {**LOCAL, "remote": {"v6pool": V6}}, refused=ONE_SOURCE),
    group("local and netbox together", {**LOCAL, "netbox": NETBOX}, refused=ONE_SOURCE),
    # defaults of the versions
    group("v1 without offSubnet", LOCAL, version="v1", local__offSubnet="Dummy"),
    group("v1 with offSubnet", local(offSubnet="Withhold"), version="v1", local__offSubnet="Withhold"),
    group(
        "a v1 NetBox",
        {"netbox": {**NETBOX, "url": "http://netbox.example.com"}},
        version="v1",
        netbox__plainHTTP=True,
        netbox__announce="local",
        netbox__offSubnet="Dummy",
    ),
    group(
        "a v2 NetBox over http", {"netbox": {**NETBOX, "url": "http://netbox.example.com"}}, refused="needs plainHTTP"
    ),
    group(
        "a v2 NetBox over http that says so",
        {"netbox": {**NETBOX, "url": "http://netbox.example.com", "plainHTTP": True}},
        netbox__announce="remote",
    ),
    group("an empty word where a version has a default", local(offSubnet=""), refused="Unsupported value"),
    # pool entries
    group("ranges, addresses and CIDRs", v4(pool="192.0.2.10-192.0.2.12, 192.0.2.20,192.0.2.32/30")),
    group("IPv6 text in an IPv4 slot", v4(pool="2001:db8::1", subnet="2001:db8::/64"), refused="should match"),
    group("IPv4 text in an IPv6 slot", v6(pool="192.0.2.1"), refused="should match"),
    group("an IPv6 exclusion in an IPv4 slot", v4(exclude=["2001:db8::1"]), refused="should match"),
    group("a subnet without a length", v4(subnet="192.0.2.0"), refused="should match"),
    group("no subnet", {"local": {"v4pool": {"pool": "192.0.2.1"}}}, refused="Required value"),
    group("an empty pool", v4(pool=""), refused="should be at least 1 chars long"),
    group("an exclusion of everything", v4(exclude=["192.0.2.0/24"])),
    group("excludeFirstLast on a /31", v4(pool="192.0.2.0/31", excludeFirstLast=True)),
    group("aggregation without a slash", v4(aggregation="32")),
    group("an empty aggregation", v4(aggregation="")),
    group("aggregation with a slash", v4(aggregation="/24")),
    group("aggregation longer than IPv4, left to the parser", v4(aggregation="/33")),
    group("aggregation /7", v4(aggregation="/7"), refused="should match"),
    group("aggregation /129", v6(aggregation="/129"), refused="should match"),
    group("257 entries", {"local": {"v4pools": [V4] * 257}}, refused="must have at most 256 items"),
    group("multiPool with balancePools", local(multiPool=True, balancePools=True), refused="exclude each other"),
    # early v1 form
    group("the legacy form", {"local": {"pool": "192.0.2.0/24", "subnet": "192.0.2.0/24"}}, version="v1"),
    group("the legacy form in IPv6", {"local": {"pool": "2001:db8::1", "subnet": "2001:db8::/64", "aggregation": ""}}),
    group("a legacy pool alone", {"local": {"pool": "192.0.2.0/24"}}, refused="pool and subnet belong together"),
    group(
        "a legacy subnet alone",
        {"local": {"subnet": "192.0.2.0/24", "pool": ""}},
        refused="pool and subnet belong together",
    ),
    # namespaces and selection
    group("a fence", {**LOCAL, "namespaces": ["a", "b", "a"], "enforceNamespaces": True}),
    group("a fence without namespaces", {**LOCAL, "enforceNamespaces": True}, refused="needs a list of namespaces"),
    group(
        "a fence with a selector",
        {**LOCAL, "namespaces": ["a"], "enforceNamespaces": True, "namespaceSelector": SELECTOR},
        refused="a fence needs literal namespaces",
    ),
    group("a default by selector", {**LOCAL, "namespaceDefault": True, "namespaceSelector": SELECTOR}),
    group(
        "a default for nobody", {**LOCAL, "namespaceDefault": True}, refused="needs namespaces or a namespaceSelector"
    ),
    group(
        "an empty namespaceSelector", {**LOCAL, "namespaceSelector": {}}, refused="an empty selector matches everything"
    ),
    group(
        "an empty serviceSelector",
        {**LOCAL, "serviceSelector": {"matchLabels": {}, "matchExpressions": []}},
        refused="an empty selector matches everything",
    ),
    group(
        "a selector by expression",
        {**LOCAL, "serviceSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}},
    ),
    group(
        "a selector with an operator nobody knows",
        {**LOCAL, "serviceSelector": {"matchExpressions": [{"key": "tier", "operator": "Near"}]}},
        refused="Unsupported value",
    ),
    group("a namespace that cannot exist", {**LOCAL, "namespaces": ["Not_A_Label"]}, refused="should match"),
    # numbers and durations
    group("priority 65535", {**LOCAL, "priority": 65535}),
    group("priority 0", {**LOCAL, "priority": 0}, refused="greater than or equal to 1"),
    group("priority 65536", {**LOCAL, "priority": 65536}, refused="less than or equal to 65535"),
    group("a quota of 0", {**LOCAL, "quotaPerNamespace": 0}, refused="greater than or equal to 1"),
    group("reuseDelay of a week", {**LOCAL, "reuseDelay": "168h"}),
    group("an empty reuseDelay", {**LOCAL, "reuseDelay": ""}),
    group("reuseDelay of more than a week", {**LOCAL, "reuseDelay": "168h1s"}, refused="must be at most 168h"),
    group("reuseDelay without a unit", {**LOCAL, "reuseDelay": "30"}, refused=NOT_A_DURATION),
    group("a negative reuseDelay", {**LOCAL, "reuseDelay": "-1s"}, refused=NOT_A_DURATION),
    # NetBox and external
    group("a NetBox without tenant", {"netbox": {"url": NETBOX["url"]}}, refused="mode reserved needs a tenant"),
    group(
        "parents of a reserved NetBox",
        {"netbox": {**NETBOX, "parents": ["192.0.2.0/24"]}},
        refused="need mode availableIPs",
    ),
    group(
        "availableIPs with parents",
        {"netbox": {"url": NETBOX["url"], "mode": "availableIPs", "parents": ["192.0.2.0/24", "192.0.2.9-192.0.2.12"]}},
    ),
    group(
        "availableIPs without any filter",
        {"netbox": {"url": NETBOX["url"], "mode": "availableIPs"}},
        refused="needs one of parents, tenant, vrf, tags",
    ),
    group(
        "a NetBox with credentials in its url", {"netbox": {**NETBOX, "url": "https://u:p@nb"}}, refused="should match"
    ),
    group("a timeout of a minute", {"netbox": {**NETBOX, "timeout": "60s"}}),
    group("a timeout beyond a minute", {"netbox": {**NETBOX, "timeout": "61s"}}, refused="must be at most 60s"),
    group("a timeout below a second", {"netbox": {**NETBOX, "timeout": "999ms"}}, refused="must be at least 1s"),
    group("a token key that leaves its directory", {"netbox": {**NETBOX, "tokenKey": "../x"}}, refused="should match"),
    group("a sidecar without announce", {"external": {"provider": "acme"}}, refused="Required value"),
    group("a sidecar's relative socket", {"external": {**EXTERNAL, "socket": "x.sock"}}, refused="should match"),
    # node agents
    agent(
        "nothing but defaults", {}, dummyKind="dummy", localInterface=None, dummyInterface=None, failback="Immediate"
    ),
    agent("the defaults of drainOn", {}, drainOn=["Cordon", "NoExecuteTaint", "NetworkUnavailable"]),
    agent("an empty drainOn", {"drainOn": []}, drainOn=[]),
    agent("gratuitous ARP without fields", {"garpConfig": {}}, garpConfig__count=3, garpConfig__repeatInterval="60s"),
    agent("a v1 name", {"localint": "eth1"}, version="v1", localint="eth1", localInterface=None),
    agent("a v1 name beside another v2 name", {"localint": "eth1", "localInterface": "eth2"}, refused=LOCALINT),
    agent("a v1 name equal to the v2 name", {"localint": "eth1", "localInterface": "eth1"}),
    agent(
        "a v1 name with its default", {"localint": "default", "sendgarp": False, "localInterface": "eth1"}, version="v1"
    ),
    agent("an empty v1 name", {"localint": "", "localInterface": "eth1"}),
    agent("an empty v2 name", {"localint": "eth1", "localInterface": ""}),
    agent("a v1 dummy beside another", {"extlbint": "lb0", "dummyInterface": "lb1"}, refused=EXTLBINT),
    agent("a v1 dummy with its default", {"extlbint": "kube-lb0", "dummyInterface": "lb1"}),
    agent("an interface name that Linux has not", {"interfaces": ["eth0/1"]}, refused="should match"),
    agent(
        "an interface name of 16 characters", {"dummyInterface": "abcdefghijklmnop"}, refused="may not be more than 15"
    ),
    agent("33 interfaces", {"interfaces": [f"eth{i}" for i in range(33)]}, refused="must have at most 32 items"),
    agent("11 gratuitous ARPs", {"garpConfig": {"count": 11}}, refused="less than or equal to 10"),
    agent("heartbeats every 100 ms", {"heartbeat": {"interval": "100ms"}}, heartbeat__port=7934),
    agent("heartbeats every 99 ms", {"heartbeat": {"interval": "99ms"}}, refused="must be at least 100ms"),
    agent("heartbeats on a low port", {"heartbeat": {"port": 1023}}, refused="greater than or equal to 1024"),
    agent(
        "a negative lifetime", {"addressConfig": {"localInterface": {"validLifetime": -1}}}, refused="greater than or"
    ),
    agent("a reason to drain that nobody knows", {"drainOn": ["Moon"]}, refused="Unsupported value"),
)
