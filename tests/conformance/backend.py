# SPDX-License-Identifier: Apache-2.0
"""The Pod of the stories: an HTTP server that says who answered. Run as a script: `python backend.py NAME PORT`."""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Backend(HTTPServer):
    address_family = socket.AF_INET6  # and IPv4, mapped
    name = ""


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection per request: a probe never rides on one that was set up before a move

    def do_GET(self) -> None:
        body = f"{self.server.name}\n".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Requests are the test's to count."""


if __name__ == "__main__":
    server = Backend(("::", int(sys.argv[2])), Answers)
    server.name = sys.argv[1]
    server.serve_forever()
