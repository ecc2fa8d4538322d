# SPDX-License-Identifier: Apache-2.0
"""The embedded API server: as much of Kubernetes' API as demo, tests and kubectl need on one machine.

`core.ApiCore` decides everything and does no I/O; `http` serves it over TLS, `memory` gives it to a client in the same
process. What only proves Kubernetes' own behaviour is tested on the real kube-apiserver and is not imitated here.
"""
