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
from agent.migrate.source import from_api, from_files

LISTS = {
    "/api/v1/nodes": {
        "kind": "NodeList",
        "apiVersion": "v1",
        "items": [{"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.0.0.0/24"]}}],
    },
}


PROXY = "/api/v1/services"  # where something answers that is no API server


class Answers(BaseHTTPRequestHandler):
    """An API server with a list, that refuses another, and has no more."""

    def do_GET(self) -> None:
        """Answer by the path."""
        path = self.path.partition("?")[0]
        code = 200 if path in LISTS or path == PROXY else 403 if path == "/api/v1/secrets" else 404
        body = json.dumps(LISTS.get(path, {"kind": "Status", "message": "no"})).encode()
        if path == PROXY:
            body = b"<html>log in first</html>"
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


def test_an_answer_that_is_no_list_is_told(client: Client) -> None:
    with pytest.raises(ConfigError, match=f"{PROXY}: the answer is no list"):
        from_api(client, (PROXY,))


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("kind: Node\nspec: {podCIDR: 10.0.0.0/24}\n", encoding="utf-16", newline="\r\n")
    assert [pod_cidrs(one) for one in from_files([file]).of_kind("Node", "")] == [("10.0.0.0/24",)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("kind: Node\nspec: 2020-99-99", "cannot read .*month must be in", id="no YAML"),
        pytest.param("kind: Node\nspec: {podCIDRs: 10.0.0.0/24}", "podCIDRs", id="a field of another type"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        from_files([tmp_path])
