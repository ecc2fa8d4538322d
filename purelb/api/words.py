# SPDX-License-Identifier: Apache-2.0
"""The API group and the closed sets of words in its fields."""

from typing import Final, Literal

GROUP: Final = "purelb.io"
VERSION: Final = "v2"
API_VERSION: Final = f"{GROUP}/{VERSION}"

Announce = Literal["local", "remote"]
OffSubnet = Literal["Dummy", "Withhold"]
Source = Literal["cluster", "netbox", "external"]
NetBoxMode = Literal["reserved", "availableIPs"]
Orphans = Literal["Off", "DryRun", "Release"]
DummyKind = Literal["dummy", "ifb"]
OnAPIOutage = Literal["Hold", "Withdraw"]
Failback = Literal["Immediate", "Never"]
DrainOn = Literal["Cordon", "NoExecuteTaint", "NetworkUnavailable", "NotReady"]
ConfigState = Literal["default", "configured", "deselected", "invalid"]
InterfaceRole = Literal["local", "extra", "dummy"]
DetectionMode = Literal["lease", "heartbeat"]
DetectionState = Literal["fit", "holding", "fenced", "draining"]
