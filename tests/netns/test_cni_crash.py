"""An agent that dies in the midst of ADD and DEL, and many at once: what the runtime was told holds, nothing leaks."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.serve.pods import STEPS
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Answer, Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

WITH_PORT: dict[str, Any] = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}
# ADDs each with its DEL; SLUICEWAY_CHURN=5000 is the whole of it, some ten minutes
PAIRS = int(os.environ.get("SLUICEWAY_CHURN", "200"))
LIFE, AT_ONCE = 50, 4  # pairs that an agent lives for; pods that come and go side by side
TRY_LATER = 11


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


def test_a_death_after_any_step_leaves_nothing_when_the_runtime_has_cleaned_up(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    for step in STEPS:
        process = node.start(environ={"SLUICEWAY_FAIL_AFTER_STEP": step})
        runtime.wait()
        code, _ = runtime.call("ADD", pod, **WITH_PORT)
        if step.startswith("ADD"):
            assert code == TRY_LATER
        else:
            assert code == 0
            assert runtime.call("DEL", pod)[0] == 0, "promised to the next agent"
        assert process.wait(READY_S) == -signal.SIGKILL
        process = node.start()
        runtime.wait()  # what was promised is done before it serves
        if step.startswith("ADD"):
            assert runtime.call("DEL", pod)[0] == 0
        assert runtime.left() == {}, f"after {step}"
        _end(process)
    process = node.start()
    runtime.wait()
    assert runtime.call("ADD", pod, **WITH_PORT)[0] == 0, "its address, name and host port are free"
    assert runtime.call("DEL", pod)[0] == 0
    _end(process)


def test_a_death_after_any_step_of_an_add_that_nobody_cleans_up_can_be_cleaned_up_later(
    node: Node, runtime: Runtime
) -> None:
    pod = runtime.make()
    node.start(environ={"SLUICEWAY_FAIL_AFTER_STEP": "ADD saved"})
    runtime.wait()
    assert runtime.call("ADD", pod)[0] == TRY_LATER
    process = node.start()
    runtime.wait()
    code, error = runtime.call("ADD", pod)
    assert (code, "DEL comes first" in error["msg"]) == (4, True)
    assert runtime.call("DEL", pod)[0] == 0
    assert runtime.left() == {}
    _end(process)


@pytest.mark.timeout(60 + PAIRS)
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
