# SPDX-License-Identifier: Apache-2.0
"""A whole cluster on one Linux machine: API server, node namespaces, demo, benchmarks."""
