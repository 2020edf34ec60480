"""What is written to Pods of their networks, and to which of those that had a name."""

import threading
import time
from typing import Any

import pytest

from agent.kube.client import Refused
from agent.kube.network_status import NetworkStatusWriter
from agent.kube.retry import Refusal
from agent.model.name import ObjectName
from agent.model.network import NETWORK_STATUS
from agent.threads import Threads

WEB = ObjectName("shop", "web")
WITHIN_S = 30.0


class Client:
    """An API server that takes all."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.is_sent = threading.Event()
        self.refuses: dict[str, int] = {}  # by path, with this code

    def send(self, method: str, path: str, content: Any, *_: object) -> None:
        """As ``agent.kube.client.Client``."""
        if path in self.refuses:
            raise Refused(f"{method} {path}", Refusal(self.refuses[path]))
        self.sent.append((f"{method} {path}", content["metadata"]))
        self.is_sent.set()


@pytest.mark.parametrize(
    ("uid", "condition"),
    [
        pytest.param("9b2c…", {"uid": "9b2c…"}, id="of the Pod that was meant"),
        pytest.param("", {}, id="whichever has the name, where no runtime tells"),
        pytest.param("5d41402abc4b2a76b9719d911017c592", {}, id="a static pod's mirror, which has another uid"),
    ],
)
def test_a_status_is_written_to(uid: str, condition: dict[str, str]) -> None:
    client = Client()
    writer = NetworkStatusWriter(client, Threads(), time.monotonic)  # type: ignore[arg-type]
    writer.start()
    writer.write(WEB, uid, "[]")
    assert client.is_sent.wait(WITHIN_S)
    writer.stop(WITHIN_S)
    path = "PATCH /api/v1/namespaces/shop/pods/web/status"
    assert client.sent == [(path, {"annotations": {NETWORK_STATUS: "[]"}, **condition})]


@pytest.mark.parametrize("code", [403, 500], ids=["does not agree", "breaks"])
def test_a_pod_to_whose_status_a_webhook_keeps_no_other_waiting(code: int) -> None:
    client = Client()
    client.refuses["/api/v1/namespaces/shop/pods/web/status"] = code
    writer = NetworkStatusWriter(client, Threads(), time.monotonic)  # type: ignore[arg-type]
    writer.write(WEB, "u", "[]")
    writer.write(ObjectName("shop", "other"), "v", "[]")
    writer.start()
    assert client.is_sent.wait(WITHIN_S)
    writer.stop(WITHIN_S)
    assert [path for path, _ in client.sent] == ["PATCH /api/v1/namespaces/shop/pods/other/status"]
