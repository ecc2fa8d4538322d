# SPDX-License-Identifier: Apache-2.0
"""The supervisor of a sandbox: one process that owns the namespaces, the API server and every component."""
