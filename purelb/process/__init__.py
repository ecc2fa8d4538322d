# SPDX-License-Identifier: Apache-2.0
"""What every component's process has: settings, logging, /metrics, /healthz, signals."""
