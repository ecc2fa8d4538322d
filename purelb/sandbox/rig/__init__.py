# SPDX-License-Identifier: Apache-2.0
"""Nodes without machines: network namespaces, links, a service proxy and a prober."""
