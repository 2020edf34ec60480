"""Objects come from an API server's lists; what it does not have is empty, what it refuses is told."""

import json
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from agent.errors import ConfigError
from agent.kube.client import Client, connect
from agent.migrate.objects import pod_cidrs
from agent.migrate.source import from_api

LISTS = {
    "/api/v1/nodes": {
        "kind": "NodeList",
        "apiVersion": "v1",
        "items": [{"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.0.0.0/24"]}}],
    },
}


class Answers(BaseHTTPRequestHandler):
    """An API server with a list, that refuses another, and has no more."""

    def do_GET(self) -> None:
        """Answer by the path."""
        path = self.path.partition("?")[0]
        code = 200 if path in LISTS else 403 if path == "/api/v1/secrets" else 404
        body = json.dumps(LISTS.get(path, {"kind": "Status", "message": "no"})).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    there = {"server": f"http://127.0.0.1:{server.server_port}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": there}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    made = Client(partial(connect, file))
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_items_of_a_list_have_its_kind(client: Client) -> None:
    found = from_api(client, ("/api/v1/nodes", "/apis/crd.projectcalico.org/v1/ippools"))
    assert [pod_cidrs(one) for one in found.of_kind("Node", "")] == [("10.0.0.0/24",)]


def test_a_refusal_is_told(client: Client) -> None:
    with pytest.raises(ConfigError, match="/api/v1/secrets: the API server answers 403"):
        from_api(client, ("/api/v1/secrets",))
