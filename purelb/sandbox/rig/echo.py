# SPDX-License-Identifier: Apache-2.0
"""A backend that says who it is and who asked: `{"pod": ..., "node": ..., "client": ...}` to every GET.

It stands in for the image `echo`. Plain http.server, both families on one socket: it starts in a tenth of a second, and no load is put on it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

# Nobody calls shutdown() here: SIGTERM ends the process. http.server would look twice a second, in every backend, for as long as the sandbox is up.
LOOK_FOR_SHUTDOWN_S: Final = 3600.0


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    # http.server's 5 are full when a busy machine stands still for a moment, and a probe would count as lost.
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(
            self
        )  # HTTPServer's asks DNS for our name first: five seconds where there is none


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        client = str(self.client_address[0]).removeprefix("::ffff:")
        who = {"pod": os.environ.get("POD_NAME", ""), "node": os.environ.get("NODE_NAME", ""), "client": client}
        body = json.dumps(who).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the name is http.server's
        """A probe every few milliseconds would bury the log."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    with _Server(("::", parser.parse_args().port), _Answer) as server:
        server.serve_forever(poll_interval=LOOK_FOR_SHUTDOWN_S)


if __name__ == "__main__":
    main()
