"""Who else is found on the node."""

import json
import subprocess
from pathlib import Path

import pytest

from agent.kernel.conflicts import Conflict, conflicts, on_hooks, plugins
from tests.agent.kernel.nets import in_new_netns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('{"type": "bridge"}', {"bridge"}, id="a single configuration names one plugin"),
        pytest.param('{"plugins": [{"type": "a"}, {"type": "b"}]}', {"a", "b"}, id="a list names several"),
        pytest.param("not json", set(), id="what cannot be read names none"),
        pytest.param("[]", set(), id="nor does what is no object"),
    ],
)
def test_plugins(text: str, expected: set[str]) -> None:
    assert plugins(text) == expected


@pytest.mark.netns
def test_another_cni_is_found_and_ours_is_not(tmp_path: Path) -> None:
    (tmp_path / "10-ours.conflist").write_text(json.dumps({"plugins": [{"type": "sluiceway-cni"}]}))
    (tmp_path / "20-other.conflist").write_text(json.dumps({"plugins": [{"type": "bridge"}]}))
    (tmp_path / "notes.txt").write_text("")
    found = in_new_netns(lambda: conflicts(tmp_path, serves=True))
    assert [s.what for s in found] == [f"{tmp_path}/20-other.conflist configures another CNI"]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("add table ip kube-proxy", "kube-proxy left its nftables table"),
        ("add table ip nat; add chain ip nat KUBE-SERVICES", "kube-proxy left its iptables chains"),
    ],
)
def test_rules_of_kube_proxy_are_found(rules: str, expected: str) -> None:
    def look() -> tuple[Conflict, ...]:
        subprocess.run(["nft", *rules.split(" ")], check=True)
        return conflicts(Path("/nonexistent"), serves=True)

    assert [s.what for s in in_new_netns(look)] == [expected]


@pytest.mark.netns
def test_who_is_meant_to_be_there_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "20-other.conflist").write_text(json.dumps({"plugins": [{"type": "bridge"}]}))

    def look() -> tuple[tuple[Conflict, ...], ...]:
        subprocess.run(["nft", "add", "table", "ip", "kube-proxy"], check=True)
        return conflicts(tmp_path, serves=False), conflicts(None, serves=True), conflicts(None, serves=False)

    network, proxy, none = in_new_netns(look)
    assert [s.what for s in network] == [f"{tmp_path}/20-other.conflist configures another CNI"]
    assert [s.what for s in proxy] == ["kube-proxy left its nftables table"]
    assert none == ()


def test_a_program_on_our_hook_is_named() -> None:
    found = on_hooks({"eth0 ingress": ["program 7 (theirs)"]})
    assert [s.what for s in found] == ["program 7 (theirs) is on eth0 ingress"]


@pytest.mark.netns
def test_a_clean_node_has_no_conflicts() -> None:
    assert in_new_netns(lambda: conflicts(Path("/nonexistent"), serves=True)) == ()
