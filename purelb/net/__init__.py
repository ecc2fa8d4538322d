# SPDX-License-Identifier: Apache-2.0
"""Address ranges, subnets, ARP and NDP frames: arithmetic, no I/O."""
