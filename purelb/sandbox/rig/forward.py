# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.rig.forward DESCRIPTOR PORT`: from a listening socket of elsewhere to 127.0.0.1:PORT of here.

A socket belongs to the namespace it was made in, wherever its connections are accepted: so the host's loopback can lead into a pod's, which nothing
outside can reach. Ends with the namespace it runs in, or when it is told to.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress

from purelb.sandbox.rig.proxy_rules import Backend
from purelb.sandbox.rig.relay import carry_to, close

log = logging.getLogger(__name__)


async def forward(listening: socket.socket, port: int) -> None:
    async def carry(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            await carry_to(client_in, client_out, Backend("127.0.0.1", port))
        except (OSError, TimeoutError) as error:
            log.warning("127.0.0.1 port %d: %s", port, error)
        finally:
            await close(client_out)

    listening.setblocking(False)
    async with await asyncio.start_server(carry, sock=listening) as server:
        await server.serve_forever()


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with suppress(KeyboardInterrupt):  # how a person ends it
        asyncio.run(forward(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))


if __name__ == "__main__":
    main()
