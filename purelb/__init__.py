# SPDX-License-Identifier: Apache-2.0
"""LoadBalancer Services for Kubernetes clusters on your own machines."""
