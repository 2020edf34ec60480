"""An agent that dies in the midst of ADD and DEL, and many at once: what the runtime was told holds, nothing leaks."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.pods import fail_points
from agent.pods.attachments import host_device
from tests.netns.agents import READY_S, Node
from tests.netns.listing import listing
from tests.netns.pods import Answer, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

WITH_PORT: dict[str, Any] = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}
# ADDs each with its DEL; SLUICEWAY_CHURN=5000 is the whole of it, some ten minutes
PAIRS = int(os.environ.get("SLUICEWAY_CHURN", "200"))
LIFE, AT_ONCE = 50, 4  # pairs that an agent lives for; pods that come and go side by side
TRY_LATER = 11
WITHOUT_VETH = ("ADD begun", "ADD veth made")  # as far as the journal knows


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swcrash{os.getpid()}", tmp_path / "node")
    yield made
    made.remove()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(READY_S) == 0


def test_the_next_agent_undoes_an_add_without_a_veth_and_completes_one_that_has_it(
    node: Node, runtime: Runtime
) -> None:
    """Nobody cleans up in between; then the runtime may try again, or is told that DEL comes first."""
    pod = runtime.make()
    for point in fail_points.ADD:
        process = node.start(environ={"SLUICEWAY_FAIL_AT": point})
        runtime.wait()
        assert runtime.call("ADD", pod, **WITH_PORT)[0] == TRY_LATER
        assert process.wait(READY_S) == -signal.SIGKILL
        process = node.start()
        runtime.wait()
        if point in WITHOUT_VETH:
            assert runtime.left() == {}, f"after {point}"
            assert runtime.call("ADD", pod, **WITH_PORT)[0] == 0, f"after {point}"
        else:
            code, error = runtime.call("ADD", pod)
            assert (code, "DEL comes first" in error["msg"]) == (4, True), f"after {point}"
        runtime.inside(pod, "ping", "-c1", "-w5", "192.0.2.1")
        assert runtime.call("DEL", pod)[0] == 0
        assert runtime.left() == {}
        _end(process)


def test_the_next_agent_completes_a_del_of_which_only_the_journal_tells(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    for point in fail_points.DEL:
        process = node.start(environ={"SLUICEWAY_FAIL_AT": point})
        runtime.wait()
        assert runtime.call("ADD", pod, **WITH_PORT)[0] == 0
        assert runtime.call("DEL", pod)[0] == 0
        assert process.wait(READY_S) == -signal.SIGKILL
        for intent in (node.root / "run/cni-intents").iterdir():
            intent.unlink()  # what the shim left for the next agent
        process = node.start()
        runtime.wait()
        node.wait_ready()  # the first sync takes away what maps know of it
        assert runtime.left() == {}, f"after {point}"
        _end(process)


def test_cleanup_takes_pods_that_an_agent_died_over(node: Node, runtime: Runtime) -> None:
    pod, before = runtime.make(), listing(node)
    for point in ("ADD veth made", "ADD attached", "DEL detached"):
        process = node.start(environ={"SLUICEWAY_FAIL_AT": point})
        runtime.wait()
        runtime.call("ADD", pod, **WITH_PORT)
        if point in fail_points.DEL:
            runtime.call("DEL", pod)
        assert process.wait(READY_S) == -signal.SIGKILL
        node.run(*node.agent("cleanup")[len(node.inside) :])
        assert listing(node) == before, f"after {point}"


def test_a_start_that_dies_at_any_point_is_done_again_by_the_next(node: Node, runtime: Runtime) -> None:
    alive, half, leaving = (runtime.make() for _ in range(3))
    process = node.start(environ={"SLUICEWAY_FAIL_AT": "DEL begun"})
    runtime.wait()
    assert [runtime.call("ADD", pod)[0] for pod in (alive, leaving)] == [0, 0]
    assert runtime.call("DEL", leaving)[0] == 0
    assert process.wait(READY_S) == -signal.SIGKILL
    for intent in (node.root / "run/cni-intents").iterdir():
        intent.unlink()
    for point in fail_points.START:
        process = node.start(environ={"SLUICEWAY_FAIL_AT": point})
        assert process.wait(READY_S) == -signal.SIGKILL, point
        process = node.start(environ={"SLUICEWAY_FAIL_AT": "ADD veth made"})
        runtime.wait()
        assert runtime.left()["journal"] == [(f"c-{alive}", "eth0")], f"after {point}"
        runtime.inside(alive, "ping", "-c1", "-w5", "192.0.2.1")
        assert runtime.call("ADD", half)[0] == TRY_LATER
        assert process.wait(READY_S) == -signal.SIGKILL
    process = node.start()
    runtime.wait()
    assert runtime.left()["journal"] == [(f"c-{alive}", "eth0")]
    assert runtime.call("DEL", alive)[0] == 0
    assert runtime.left() == {}
    _end(process)


def test_a_full_disk_refuses_pods_and_lets_them_go_until_it_has_room_again(node: Node, runtime: Runtime) -> None:
    before, late = runtime.make(), runtime.make()
    state = node.root / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", node.name, str(state)], check=True)
    try:
        process = node.start()
        runtime.wait()
        assert runtime.call("ADD", before)[0] == 0
        _fill(state / "filling")
        while (answer := runtime.call("ADD", late))[0] == 0:  # the last page has room for some steps
            assert runtime.call("DEL", late)[0] == 0
        code, error = answer
        assert code == TRY_LATER
        assert "the journal of pods cannot be written: No space left on device" in error["msg"]
        assert runtime.left()["devices"] == [host_device(f"c-{before}", "eth0")]
        assert runtime.call("DEL", before)[0] == 0
        process.kill()
        assert process.wait(READY_S) == -signal.SIGKILL
        process = node.start()
        runtime.wait()
        assert runtime.left() == {}, "its device is gone, whatever the journal says"
        (state / "filling").unlink()
        assert runtime.call("ADD", late)[0] == 0
        assert runtime.call("DEL", late)[0] == 0
        assert runtime.left() == {}
        _end(process)
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.timeout(600 + PAIRS)
def test_agents_that_are_killed_again_and_again_leak_nothing(node: Node, runtime: Runtime) -> None:
    """Several pods come and go without a pause, under one agent after the other; addresses are used many times over."""
    churn = _Churn(runtime, PAIRS)
    workers = [threading.Thread(target=churn.work, args=(runtime.make(),)) for _ in range(AT_ONCE)]
    process = node.start()
    runtime.wait()
    for worker in workers:
        worker.start()
    for number in range(LIFE, PAIRS, LIFE):
        churn.wait_until(number)
        process.kill()
        assert process.wait(READY_S) == -signal.SIGKILL
        process = node.start()
    for worker in workers:
        worker.join()
    runtime.wait()
    print(f"{PAIRS} ADD and DEL, {PAIRS // LIFE - 1} agents killed, {churn.refused} ADD to be tried later")
    assert churn.faults == []
    assert churn.refused < PAIRS // 2
    assert runtime.left() == {}
    while runtime.pins():  # of pods that were there for long enough; the test's limit ends the wait
        time.sleep(0.1)
    _end(process)


@dataclass
class _Churn:
    """ADD and DEL, so many pairs by several threads together; what was not answered as it should be."""

    runtime: Runtime
    pairs: int
    begun: int = 0
    done: int = 0
    refused: int = 0
    faults: list[Answer] = field(default_factory=list)
    step: threading.Condition = field(default_factory=threading.Condition)

    def work(self, pod: str) -> None:
        """One pod of many lives."""
        while True:
            with self.step:
                self.begun += 1
                number = self.begun
            if number > self.pairs:
                return
            added = self.runtime.call("ADD", pod, f"c{number}")
            deleted = self.runtime.call("DEL", pod, f"c{number}")
            with self.step:
                self.refused += added[0] == TRY_LATER
                self.faults += [one for one in (added, deleted) if one[0] and one[0] != TRY_LATER]
                self.faults += [deleted] if deleted[0] else []
                self.done += 1
                self.step.notify_all()

    def wait_until(self, number: int) -> None:
        """Until so many pairs are done; the others go on."""
        with self.step:
            self.step.wait_for(lambda: self.done >= number)


def test_64_pods_come_and_go_at_once(node: Node, runtime: Runtime) -> None:
    process = node.start()
    runtime.wait()
    pods = [runtime.make() for _ in range(64)]
    added = _at_once(runtime, "ADD", pods)
    assert [code for code, _ in added] == [0] * 64
    assert len({result["ips"][0]["address"] for _, result in added}) == 64
    assert [code for code, _ in _at_once(runtime, "DEL", pods)] == [0] * 64
    assert runtime.left() == {}
    _end(process)


def _at_once(runtime: Runtime, command: str, pods: list[str]) -> list[Answer]:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda p=pod: answers.append(runtime.call(command, p))) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
