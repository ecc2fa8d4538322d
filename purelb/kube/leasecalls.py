# SPDX-License-Identifier: Apache-2.0
"""The requests for one lease, carried out: what a decider asks for goes to the API server, and what can go wrong is in its answer.

Who competes for a lease and who keeps one of his own ask alike; what their lease says is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.kube.errors import AlreadyExists, ApiError, Conflict, KubeError, NotFound
from purelb.kube.leasewords import (
    Absent,
    Answer,
    Conflicted,
    Create,
    Failed,
    Found,
    Read,
    Release,
    Renew,
    Request,
    Take,
    Wrote,
)
from purelb.kube.resources import LEASES
from purelb.kube.wire import PatchType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock


class LeaseCalls:
    """Asks for the lease `namespace/name`. `trouble` says why the latest request failed, None if it did not."""

    def __init__(self, client: ApiClient, *, namespace: str, name: str, clock: Clock) -> None:
        self.trouble: str | None = None
        self._client = client
        self._namespace = namespace
        self._name = name
        self._clock = clock

    async def ask(self, request: Request, body: Mapping[str, object]) -> Answer:
        """The answer to one request; `body` is what it writes, and means nothing for a Read."""
        answer = await self._exchange(request, body)
        if not (isinstance(request, Read) and isinstance(answer, Absent)):  # whether it can be created is to be seen
            self.trouble = answer.why if isinstance(answer, Failed) else None
        return answer

    async def _exchange(self, request: Request, body: Mapping[str, object]) -> Answer:
        client, name, namespace, clock = self._client, self._name, self._namespace, self._clock
        try:
            match request:
                case Read(timeout=timeout):
                    return Found(await client.get(LEASES, name, namespace=namespace, timeout=timeout))
                case Create(timeout=timeout):
                    async with clock.timeout_at(clock.now() + timeout):
                        return Wrote(await client.create(LEASES, body, namespace=namespace))
                case Take(rv=rv, timeout=timeout) | Renew(rv=rv, timeout=timeout) | Release(rv=rv, timeout=timeout):
                    return Wrote(
                        await client.patch(
                            LEASES, name, body, kind=PatchType.MERGE, namespace=namespace, rv=rv, timeout=timeout
                        )
                    )
        except NotFound as error:  # what is to be created is missing nowhere: its namespace is
            return Failed(why=str(error)) if isinstance(request, Create) else Absent()
        except (Conflict, AlreadyExists):
            return Conflicted()
        except TimeoutError:
            return Failed(why="no answer in time")
        except ApiError as error:
            return Failed(error.retry_after, why=str(error))
        except KubeError as error:
            return Failed(why=str(error))
