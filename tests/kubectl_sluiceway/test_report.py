"""`kubectl sluiceway report`: an archive of what was there, and of what was not."""

import tarfile
from pathlib import Path

import pytest

from kubectl_sluiceway.app import main
from tests.kubectl_sluiceway.conftest import Fake, agent


def test_a_report_has_the_options_that_the_agents_were_given(fake: Fake, tmp_path: Path) -> None:
    pods = [agent("a1", "n1"), agent("a2", "n2")]
    pods[0]["spec"]["containers"][0] |= {"command": ["sluiceway-agent"], "args": ["run", "--mtu=1400", "--xdp", "off"]}
    pods[1]["spec"]["containers"][0] |= {"command": ["sluiceway-agent", "run", "--mtu=1300"]}
    fake.answer("get pods --all-namespaces", {"items": pods})
    assert main(["report", "--output", str(tmp_path / "report.tar.gz")]) == 1  # much else is not there
    asked = [words[words.index("sluiceway-agent") :] for words, _ in fake.asked if "config" in words]
    assert sorted(asked) == [
        ["sluiceway-agent", "config", "--mtu=1300"],
        ["sluiceway-agent", "config", "--mtu=1400", "--xdp", "off"],
    ]


def test_a_report_has_what_was_there_and_says_what_was_not(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("logs", "exec"):
        fake.answer(words, f"said of {words}")
    for words in ("services", "endpointslices", "networkpolicies", "daemonsets"):
        fake.answer(f"get {words}", {"items": []})
    fake.answer("get events", "not JSON")
    secret = "c2VjcmV0"  # noqa: S105
    fake.answer("get nodes", {"items": [{"metadata": {"annotations": {"kube-router.io/peer.passwords": secret}}}]})
    fake.answer("a2 -c agent -- dpctl drops", "killed", code=137)
    path = tmp_path / "report.tar.gz"
    assert main(["report", "--output", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert "nodes/n2/drops.json" in err
    with tarfile.open(path) as archive:
        names = {name.removeprefix("sluiceway-report/") for name in archive.getnames()}
        missing = archive.extractfile("sluiceway-report/missing.txt")
        assert missing
        said = missing.read()
        assert (b"killed" in said, b"objects/events.json" in said) == (True, True)
        assert not any(secret.encode() in file.read() for file in map(archive.extractfile, archive) if file)
    assert {"objects/services.json", "nodes/n1/agent.log", "nodes/n1/drops.json", "nodes/n2/options.yaml"} <= names
    assert not any("secret" in " ".join(words) for words, _ in fake.asked)
