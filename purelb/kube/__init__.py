# SPDX-License-Identifier: Apache-2.0
"""What client-go is to a Go controller: client, informers, work queue, owner, writer, leases, events.

Knows Kubernetes and nothing of load balancing; imports no other package of this project.
"""
