# SPDX-License-Identifier: Apache-2.0
"""Where addresses come from that this cluster does not hand out itself."""
