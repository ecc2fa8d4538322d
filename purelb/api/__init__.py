# SPDX-License-Identifier: Apache-2.0
"""The purelb.io kinds, annotations, reasons and defaults, as data. It holds the words and decides nothing."""
