# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the components on a real or embedded API server. Ratios and counts of one run, never bare figures from elsewhere."""
