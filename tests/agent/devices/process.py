"""The device plugin's process, and what tests do with it."""

import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from agent.pods.pod_devices import Answer, Question, Unanswered, ask
from tests.agent.devices.kubelet import PATIENCE_S


def until(condition: Callable[[], bool]) -> bool:
    """Whether it holds before patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True, slots=True)
class Plugin:
    """The process, and what it works on."""

    process: subprocess.Popen[str]
    config: Path
    run_dir: Path
    cdi_dir: Path
    port: int

    def configure(self, *resources: object) -> None:
        """Exchange the configuration as a ConfigMap's volume does."""
        write(self.config, *resources)

    def page(self, path: str) -> str:
        """What it says over HTTP."""
        with urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def ask(self) -> Answer:
        """All that it knows, once it listens."""
        found = Answer()

        def answers() -> bool:
            nonlocal found
            try:
                found = ask(self.run_dir, Question())
            except Unanswered:
                return False
            return True

        assert until(answers)
        return found

    def ready(self) -> str:
        """What the kubelet's probe is told; empty: nobody listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection:
                connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
        except ConnectionError:
            return ""
        return answer.decode().rpartition("\r\n\r\n")[2]


def write(path: Path, *resources: object) -> None:
    """A configuration."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"resourceList": resources}))
    draft.rename(path)


Start = Callable[..., Plugin]
