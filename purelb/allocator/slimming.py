# SPDX-License-Identifier: Apache-2.0
"""What of a Service is worth keeping in memory: everything but other people's annotations.

A manifest applied with kubectl carries itself once more as an annotation; ten thousand of them are tens of megabytes that nobody here
reads. Writes are patches of what is ours, so nothing that was left out here is ever lost on the server.
"""

from msgspec.structs import replace

from purelb.api.annotations import PREFIX
from purelb.kube.model import Service


def slim(service: Service) -> Service:
    """The Service with our annotations only."""
    meta = service.metadata
    noted = meta.annotations
    if not noted or all(name.startswith(PREFIX) for name in noted):
        return service
    ours = {name: value for name, value in noted.items() if name.startswith(PREFIX)}
    return replace(service, metadata=replace(meta, annotations=ours or None))
