# SPDX-License-Identifier: Apache-2.0
"""Which node answers for which address."""
