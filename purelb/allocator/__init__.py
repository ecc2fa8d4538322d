# SPDX-License-Identifier: Apache-2.0
"""Which Service holds which address."""
