"""A metadata service for labs, as an IaaS would run one: so a guest's `curl 169.254.169.254` has an answer.

Knows of an instance what the agents say of it (X-Instance-ID and the like); is no example of a real one.
`python -m topologies.metadata ADDRESS PORT` runs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EC2 = "/latest/meta-data"
OPENSTACK = "/openstack/latest/meta_data.json"


def answer(path: str, headers: Mapping[str, str]) -> str | None:
    """What is at a path for the instance that the headers name; None if nothing is."""
    # Whatever their case (RFC 9110, section 5.1).
    named = {name.lower(): value for name, value in headers.items()}
    instance, project = named.get("x-instance-id", ""), named.get("x-project-id", "")
    said = {"instance-id": instance, "local-ipv4": named.get("x-forwarded-for", "")}
    pages = {f"{EC2}/{name}": text for name, text in said.items()}
    pages[EC2] = "\n".join(said)
    pages[OPENSTACK] = json.dumps({"uuid": instance, "project_id": project})
    pages[""] = "latest\nopenstack"
    return pages.get(path.partition("?")[0].rstrip("/"))


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    def do_GET(self) -> None:
        """Answer, or say that nothing is there."""
        text = answer(self.path, {str(k): str(v) for k, v in self.headers.items()})
        status = HTTPStatus.NOT_FOUND if text is None else HTTPStatus.OK
        body = f"{status.phrase if text is None else text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
