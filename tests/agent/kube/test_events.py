"""Events about pods without an address and about this node, against a server that does what the API server does."""

import json
import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from agent.kube.client import Client, connect
from agent.kube.event_book import QUIET_S, SUBJECTS_MAX, EventBook, Subject
from agent.kube.events import REMIND_S, Events
from agent.model.name import ObjectName, Problem
from agent.threads import Threads
from tests.agent.served import Served

WEB = ObjectName("default", "web-0")
FULL = "podCIDR 10.0.0.0/24 is used up"


class Api(Served):
    """Keeps Events as the API server does: POST makes one of a new name, PATCH merges into one that is there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: dict[str, dict[str, Any]] = {}  # by path
        self.asked: queue.Queue[tuple[str, int]] = queue.Queue()  # method and status, in order
        self.allowed = "secret"
        self.forbidden = False
        self.ending = ""  # a namespace in which nothing is made any more
        self.held = Event()
        self.held.set()
        self.start()

    def answered(self) -> tuple[str, int]:
        """The next request that was answered."""
        return self.asked.get(timeout=60)

    def the_one(self) -> dict[str, Any]:
        """The Event, when there is but one."""
        (found,) = self.events.values()
        return found

    def stop(self) -> None:
        """Close everything."""
        self.held.set()
        super().stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_POST(self) -> None:
        content = self._content("application/json")
        path = f"{self.path}/{content['metadata']['name']}"
        code = 409 if path in self.server.events else 201
        if content["involvedObject"].get("namespace", "default") != content["metadata"]["namespace"]:
            code = 422  # "does not match event.namespace"
        self._answer(code, path, content)

    def do_PATCH(self) -> None:
        patch = self._content("application/merge-patch+json")
        old = self.server.events.get(self.path)
        self._answer(404 if old is None else 200, self.path, {**(old or {}), **patch})

    def _content(self, kind: str) -> dict[str, Any]:
        self.server.held.wait()
        assert self.headers["Content-Type"] == kind
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _answer(self, code: int, path: str, content: dict[str, Any]) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.server.allowed}":
            code = 401
        elif self.server.forbidden or f"/namespaces/{self.server.ending}/" in path:
            code = 403
        if code < 300:
            self.server.events[path] = content
        body = json.dumps(content if code < 300 else {"kind": "Status", "code": code}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.put((self.command, code))


@dataclass
class Room:
    """A writer of Events with a clock of the test's."""

    api: Api
    folder: Path
    now: float = 1000.0
    events: Events = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        self.events = Events(
            Client(lambda: connect(self.kubeconfig())), "n1", Threads(), lambda: self.now, pod_uid=lambda _: "u-9"
        )
        self.events.start()

    def kubeconfig(self) -> Path:
        """The way to the server; the token is a file's."""
        if not (self.folder / "token").exists():
            (self.folder / "token").write_text("secret")
        parts = {
            "contexts": {"cluster": "x", "user": "x"},
            "clusters": {"server": f"http://127.0.0.1:{self.api.server_address[1]}"},
            "users": {"tokenFile": str(self.folder / "token")},
        }
        content = {key: [{"name": "x", key[:-1]: value}] for key, value in parts.items()}
        path = self.folder / "kubeconfig"
        path.write_text(json.dumps({"kind": "Config", "current-context": "x", **content}))
        return path

    def fail(self, pod: ObjectName = WEB, why: str = FULL) -> None:
        """A pod finds no address."""
        self.events.no_address(pod, f"uid-{pod.name}", why)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    api = Api()
    made = Room(api, tmp_path)
    yield made
    api.held.set()
    made.events.end()
    made.events.join(60)
    api.stop()


def test_an_event_says_whom_it_is_about_and_why(room: Room) -> None:
    room.fail()
    assert room.api.answered() == ("POST", 201)
    event = room.api.the_one()
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("web-0.")
    pod = {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web-0", "uid": "uid-web-0"}
    assert event["involvedObject"] == pod
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "FailedIPAllocation", FULL)
    assert (event["count"], event["source"]) == (1, {"component": "sluiceway-agent", "host": "n1"})
    assert event["firstTimestamp"] == event["lastTimestamp"]


def test_a_bgp_session_that_is_lost_and_one_that_is_back_are_events_of_the_node(room: Room) -> None:
    for is_up, text in ((False, "is Active; Hold timer expired"), (True, "is Established")):
        room.events.bgp_session("BGPPeer tor", text, is_up=is_up)
        assert room.api.answered() == ("POST", 201)
        room.now += 1
    found = [(one["type"], one["reason"], one["message"]) for one in room.api.events.values()]
    assert found == [
        ("Warning", "BGPSessionLost", "BGPPeer tor: is Active; Hold timer expired"),
        ("Normal", "BGPSessionEstablished", "BGPPeer tor: is Established"),
    ]
    assert {one["involvedObject"]["uid"] for one in room.api.events.values()} == {"n1"}


def test_a_pod_that_fails_again_and_again_is_one_event_that_counts(room: Room) -> None:
    room.fail()
    assert room.api.answered() == ("POST", 201)
    for _ in range(20):
        room.now += 1
        room.fail(why="still used up")
    assert room.api.asked.empty()
    room.now += QUIET_S
    room.fail(why="still used up")
    assert room.api.answered() == ("PATCH", 200)
    assert (room.api.the_one()["count"], room.api.the_one()["message"]) == (22, "still used up")
    assert room.api.the_one()["reason"] == "FailedIPAllocation"


def test_each_pod_has_its_own(room: Room) -> None:
    for number in range(3):
        room.fail(ObjectName("default", f"web-{number}"))
    assert [room.api.answered() for _ in range(3)] == [("POST", 201)] * 3
    assert len(room.api.events) == 3


def test_an_event_that_expired_is_made_anew(room: Room) -> None:
    room.fail()
    room.api.answered()
    room.api.events.clear()
    room.now += QUIET_S + 1
    room.fail()
    # the name is the same: it tells of the same
    assert [room.api.answered(), room.api.answered()] == [("PATCH", 404), ("POST", 201)]
    assert room.api.the_one()["count"] == 2


def test_a_server_that_does_not_answer_holds_nobody_up(room: Room) -> None:
    room.api.held.clear()
    for number in range(20):
        room.fail(ObjectName("default", f"web-{number}"))
    assert room.api.asked.empty(), "none is answered yet"


def test_a_failure_is_told_once_and_tried_again(room: Room, written: pytest.LogCaptureFixture) -> None:
    room.api.forbidden = True
    for _ in range(3):
        room.fail()
        assert room.api.answered() == ("POST", 403)
        room.now += QUIET_S + 1
    room.api.forbidden = False
    room.fail()
    assert room.api.answered() == ("POST", 201)
    assert room.api.the_one()["count"] == 4
    assert written.text.count("events cannot be written") == 1


def test_a_namespace_that_takes_no_event_keeps_those_of_others_from_nobody(room: Room) -> None:
    room.api.ending = "default"
    room.fail()
    assert room.api.answered() == ("POST", 403)
    room.fail(ObjectName("shop", "web-1"))
    assert room.api.answered() == ("POST", 201)
    room.now += QUIET_S
    room.fail(ObjectName("shop", "web-2"))
    assert {room.api.answered(), room.api.answered()} == {("POST", 403), ("POST", 201)}


def test_a_token_that_was_renewed_is_read_again(room: Room) -> None:
    room.api.allowed = "newer"
    (room.folder / "token").write_text("secret")
    room.fail()
    assert room.api.answered() == ("POST", 401)
    (room.folder / "token").write_text("newer")
    room.now += QUIET_S + 1
    room.fail()
    assert room.api.answered() == ("POST", 201)


NO_PORT = Problem("Node", ObjectName("", "n1"), "net.ipv4.ip_local_port_range", "leaves no port")


def test_what_is_wrong_with_this_node_is_an_event_on_its_node(room: Room) -> None:
    room.events.local_problems((NO_PORT,))
    assert room.api.answered() == ("POST", 201)
    ((path, event),) = room.api.events.items()
    assert path.startswith("/api/v1/namespaces/default/events/n1.")
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert (event["type"], event["reason"]) == ("Warning", "NetworkProblem")
    assert event["message"] == "net.ipv4.ip_local_port_range: leaves no port"


def test_each_setting_of_the_node_has_an_event_of_its_own(room: Room) -> None:
    room.events.local_problems((NO_PORT,))
    assert room.api.answered() == ("POST", 201)
    room.events.local_problems((NO_PORT, Problem("Node", NO_PORT.name, "spec.podCIDRs", "of IPv4 alone")))
    assert room.api.answered() == ("POST", 201)
    assert sorted(event["message"].partition(":")[0] for event in room.api.events.values()) == [
        "net.ipv4.ip_local_port_range",
        "spec.podCIDRs",
    ]


def test_what_is_wrong_with_a_pod_is_one_event_on_it(room: Room) -> None:
    where = "metadata.annotations['sluiceway.io/routed-ranges']"
    room.events.local_problems((Problem("Pod", WEB, where, "10.1.0.0/16 is ours"), Problem("Pod", WEB, where, "also")))
    assert room.api.answered() == ("POST", 201)
    event = room.api.the_one()
    assert (event["involvedObject"]["kind"], event["involvedObject"]["uid"]) == ("Pod", "u-9")
    assert (event["reason"], event["count"]) == ("NetworkProblem", 1)
    assert event["message"] == f"{where}: 10.1.0.0/16 is ours; also"


def test_a_problem_that_lasts_is_written_again_before_its_event_expires(room: Room) -> None:
    problems = (NO_PORT,)
    room.events.local_problems(problems)
    assert room.api.answered() == ("POST", 201)
    room.now += REMIND_S - 1
    room.events.local_problems(problems)
    room.events.local_problems((NO_PORT,))
    room.now += 1
    room.events.local_problems(problems)
    assert room.api.answered()[0] in {"POST", "PATCH"}
    assert room.api.asked.empty()


def test_what_is_wrong_with_other_objects_every_node_sees_and_none_writes(room: Room) -> None:
    others = (Problem("Node", ObjectName("", "n2"), "spec", ""), Problem("Service", WEB, "spec", ""))
    room.events.local_problems((*others, NO_PORT))
    assert room.api.answered() == ("POST", 201)
    assert room.api.asked.empty()
    assert room.api.the_one()["involvedObject"]["name"] == "n1"


def test_the_book_forgets_what_is_well_and_is_never_too_thick() -> None:
    book = EventBook()
    pods = [_pod(ObjectName("default", f"p{number}")) for number in range(SUBJECTS_MAX + 1)]
    assert [book.note(pod, FULL, 0.0, 0.0) for pod in pods] == [True] * SUBJECTS_MAX + [False]
    for happened in book.due(0.0):
        book.written(happened, "e", 0.0)
    assert book.due(QUIET_S) == ()
    assert book.next_due() is None
    assert book.note(pods[-1], FULL, 0.0, 0.0)


def _pod(name: ObjectName) -> Subject:
    return Subject("Pod", name, "", "FailedIPAllocation")


def test_what_happens_while_an_event_is_written_is_told_next() -> None:
    book = EventBook()
    book.note(_pod(WEB), FULL, 0.0, 0.0)
    (first,) = book.due(0.0)
    book.note(_pod(WEB), "again", 1.0, 1.0)
    book.written(first, "e", 1.0)
    assert book.due(2.0) == ()
    (second,) = book.due(1.0 + QUIET_S)
    assert (second.count, second.message, second.event) == (2, "again", "e")


def test_what_could_not_be_written_is_tried_behind_the_others() -> None:
    book = EventBook()
    other = ObjectName("shop", "web-1")
    for name in (WEB, other):
        book.note(_pod(name), FULL, 0.0, 0.0)
    book.failed(book.due(0.0)[0], 1.0)
    assert [one.subject.name for one in book.due(1.0)] == [other, WEB]
