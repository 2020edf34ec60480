"""A kubectl that answers from what a test has written, and remembers what it was asked."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubectl_sluiceway.kubectl import Kubectl

# the longest words of an answer count; a script that asks targets finds all well but addresses that are bad
PROGRAM = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
home, words = Path(os.environ["FAKE_KUBECTL"]), sys.argv[1:]
stdin = sys.stdin.read() if "-f" in words else ""
with (home / "asked").open("a") as asked:
    asked.write(json.dumps([words, stdin]) + "\\n")
answers = json.loads((home / "answers.json").read_text())
if "python3" in words:
    bad = answers.get("bad", [])
    print(json.dumps(["timed out" if address in bad else "" for _, address, _ in json.loads(words[-1])]))
    sys.exit()
line = " ".join(words)
for begin, (code, text) in sorted(answers["lines"].items(), key=lambda item: -len(item[0])):
    if begin in line:
        (sys.stderr if code else sys.stdout).write(text)
        sys.exit(code)
sys.exit(f"nothing is known of {{line}}")
"""


@dataclass
class Fake:
    """What it answers."""

    home: Path
    lines: dict[str, tuple[int, str]]
    bad: list[str]

    def write(self) -> None:
        """Take effect."""
        (self.home / "answers.json").write_text(json.dumps({"lines": self.lines, "bad": self.bad}))

    def answer(self, words: str, content: object, code: int = 0) -> None:
        """Answer a command line that has these words."""
        self.lines[words] = (code, content if isinstance(content, str) else json.dumps(content))
        self.write()

    @property
    def asked(self) -> list[tuple[list[str], str]]:
        """The words and the input of each command so far."""
        file = self.home / "asked"
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def applied(self) -> list[dict[str, Any]]:
        """The objects that were made."""
        items: list[dict[str, Any]] = next(json.loads(text) for words, text in self.asked if "apply" in words)["items"]
        return items


def rows(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], tuple[bool, str]]:
    """What is shown, by check and place."""
    found = json.loads(capsys.readouterr().out)
    return {(row["check"], row["where"]): (row["is_well"], row["note"]) for row in found}


def node(name: str, *addresses: str, system: str = "linux") -> dict[str, Any]:
    status = {
        "addresses": [{"type": "InternalIP", "address": address} for address in addresses],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {"metadata": {"name": name, "labels": {"kubernetes.io/os": system}}, "status": status}


def daemon_set(wanted: int, **spec: Any) -> dict[str, Any]:
    """The agents', with other words in its pods' spec."""
    pod = {"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}], **spec}
    return {
        "metadata": {"name": "sluiceway-agent", "namespace": "kube-system", "generation": 2},
        "spec": {"template": {"spec": pod}},
        "status": {"observedGeneration": 2, "desiredNumberScheduled": wanted},
    }


def agent(name: str, on: str, **state: Any) -> dict[str, Any]:
    status = {
        "name": "agent",
        "ready": True,
        "imageID": "sha256:aa",
        "restartCount": 0,
        "state": {"running": {}},
    } | state
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"nodeName": on, "containers": [{"name": "agent", "image": "sluiceway:1"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }


def probe_pod(name: str, on: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "probes"},
        "spec": {"nodeName": on},
        "status": {
            "podIPs": [{"ip": address} for address in addresses],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


SYNCED = [{"about": "cluster", "state": "synced", "note": "no problems; reported 1s ago", "error": ""}]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A cluster of two nodes where all is well."""
    program = tmp_path / "kubectl"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path))
    made = Fake(tmp_path, {}, [])
    made.answer(
        "get nodes", {"items": [node("n1", "192.0.2.1", "2001:db8::1"), node("n2", "192.0.2.2", "2001:db8::2")]}
    )
    made.answer("get pods --all-namespaces", {"items": [agent("a1", "n1"), agent("a2", "n2")]})
    made.answer("get daemonsets --all-namespaces", {"items": [daemon_set(2)]})
    made.answer("dpctl status", SYNCED)
    probes = [probe_pod("p1", "n1", "10.244.1.2", "fd00:1::2"), probe_pod("p2", "n2", "10.244.2.2", "fd00:2::2")]
    for namespace in ("sluiceway-probe-", "kube-system"):
        made.answer(f"get pods --namespace {namespace}", {"items": probes})
    made.answer("apply", "")
    made.answer("delete", "")
    return made


@pytest.fixture
def kubectl(fake: Fake) -> Kubectl:
    return Kubectl(program=str(fake.home / "kubectl"))
