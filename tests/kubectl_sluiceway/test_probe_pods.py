"""The pods that `kubectl sluiceway status` makes for its probes: whom they ask, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
import time

import pytest

from kubectl_sluiceway.app import main
from kubectl_sluiceway.kubectl import Kubectl
from tests.kubectl_sluiceway.conftest import Fake, agent, node, rows


@pytest.mark.parametrize(
    ("bad", "check", "note"),
    [
        ("2001:db8::2", "node to node", "SYN 2001:db8::2 port 10250: timed out"),
        ("fd00:2::2", "pod to pod", "TCP fd00:2::2 port 8080: timed out; UDP fd00:2::2 port 8080: timed out"),
    ],
)
def test_an_address_that_does_not_answer_is_named(
    fake: Fake, capsys: pytest.CaptureFixture[str], bad: str, check: str, note: str
) -> None:
    fake.bad = [bad]
    fake.write()
    assert main(["status", "-o", "json"]) == 1
    seen = rows(capsys)
    assert seen[check, "n1 to n2"] == (False, note)
    assert seen[check, "n2 to n1"][0]
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]  # whatever was found


def test_what_was_made_of_a_probe_that_is_refused_goes_too(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """As where an admission webhook takes the namespace, and not the DaemonSet."""
    fake.answer("apply", "admission webhook denied the request", code=1)
    assert main(["status"]) == 1
    assert "denied the request" in capsys.readouterr().err
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_probe_that_is_stopped_leaves_nothing(fake: Fake, number: signal.Signals) -> None:
    fake.answer("get pods --namespace sluiceway-probe-", {"items": []})  # which never come
    # whoever runs the tests may have them ignored, as nohup does
    argv = ["env", "--default-signal", sys.executable, "-m", "kubectl_sluiceway", "status", "--wait"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any("apply" in words for words, _ in fake.asked):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == "kubectl sluiceway: stopped\n"
    assert process.returncode == 1
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]


def test_probe_pods_have_no_rights_and_the_agents_image(fake: Fake) -> None:
    assert main(["status"]) == 0
    pod = fake.applied[1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "sluiceway:1"
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False


def test_a_large_cluster_is_asked_in_a_circle(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"n{number:02}" for number in range(10)]
    fake.answer("get nodes", {"items": [node(name, f"192.0.2.{at}") for at, name in enumerate(names)]})
    fake.answer("get pods --all-namespaces", {"items": [agent(f"a-{name}", name) for name in names]})
    fake.answer("get pods --namespace sluiceway-probe-", {"items": []})
    fake.bad = ["192.0.2.3"]
    fake.write()
    main(["status", "-o", "json", "--wait", "--timeout", "1s"])
    capsys.readouterr()
    asked = [words for words, _ in fake.asked if "python3" in words]
    assert len(asked) % 30 == 0
    assert asked


def test_a_signal_leaves_no_command_behind_that_has_begun(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer("apply", "")
    ended: list[str] = []

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        ended.append("apply")
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Kubectl().run("apply")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["apply"], "what it makes is there before it is deleted"
