"""An agent that dies in the midst of ADD and DEL, and many at once: what the runtime was told holds, nothing leaks."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.serve.pods import STEPS
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Answer, Runtime, conf

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

WITH_PORT: dict[str, Any] = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}
PAIRS, LIFE = 100, 25  # ADDs each with its DEL, and how many an agent lives for
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


def test_agents_that_are_killed_again_and_again_leak_nothing(node: Node, runtime: Runtime) -> None:
    pods = [runtime.make() for _ in range(4)]
    chance = random.Random(4)  # noqa: S311  no secret
    process = node.start()
    runtime.wait()
    for number in range(PAIRS):
        pod = pods[number % len(pods)]
        if number % LIFE == LIFE - 1:
            _call_and_kill(runtime, process, pod, f"c{number}", chance.uniform(0, 0.03))
            process = node.start()
            runtime.wait()
        else:
            code, result = runtime.call("ADD", pod, f"c{number}")
            assert code == 0, result
        assert runtime.call("DEL", pod, f"c{number}") == (0, {})
    assert runtime.left() == {}
    _end(process)


def _call_and_kill(runtime: Runtime, process: subprocess.Popen[str], pod: str, container: str, after_s: float) -> None:
    """Kill the agent some time after an ADD has begun; the shim is let go with it."""
    argv, environment = runtime.command("ADD", pod, container)
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as shim:
        assert shim.stdin
        shim.stdin.write(conf())
        shim.stdin.close()
        time.sleep(after_s)
        process.kill()
        process.wait()
        shim.kill()


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
