"""Chains of a container's host ports go, and nobody else's."""

import subprocess

import pytest

from agent.kernel.kube_proxy import legacy
from agent.kernel.portmap import chain_name, remove
from tests.agent.kernel.nets import in_new_netns

OURS, OTHER = chain_name("cbr0", "c1"), chain_name("cbr0", "c2")
# of the plugin's own tests
CONTAINER = (
    "icee6giejonei6sohng6ahngee7laquohquee9shiGo7fohferakah3Feiyoolu2"
    "pei7ciPhoh7shaoX6vai3vuf0ahfaeng8yohb9ceu0daez5hashee8ooYai5wa3y"
)


def nft(words: str) -> str:
    return subprocess.run(["nft", *words.split()], check=True, capture_output=True, text=True).stdout


def test_a_chains_name_is_the_plugins() -> None:
    assert chain_name("testNetName", CONTAINER) == "CNI-DN-bfd599665540dd91d5d28"


@pytest.mark.netns
def test_the_chains_of_a_container_go_with_what_leads_to_them() -> None:
    def play() -> tuple[str, str, str]:
        for family in ("ip", "ip6"):
            nft(f"add table {family} nat")
            for chain in ("CNI-HOSTPORT-DNAT", OURS, OTHER):
                nft(f"add chain {family} nat {chain}")
            for port, chain in ((8080, OURS), (8443, OURS), (8081, OTHER)):
                nft(f"add rule {family} nat CNI-HOSTPORT-DNAT tcp dport {port} jump {chain}")
                nft(f"add rule {family} nat {chain} counter")
        return remove("cbr0", "c1"), nft("list ruleset"), remove("cbr0", "c1")

    first, left, again = in_new_netns(play)
    assert (first, again) == ("", "")
    assert OURS not in left
    assert left.count(f"jump {OTHER}") == 2


@pytest.mark.netns
def test_where_there_are_none_nothing_is_left() -> None:
    assert in_new_netns(lambda: remove("cbr0", "c1")) == ""


@pytest.mark.netns
def test_a_chain_of_iptables_legacy_is_told_with_what_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy, "tables", lambda chain: iter(["nat"] if chain == OURS else []))
    assert f"grep -v {OURS} | iptables-legacy-restore" in in_new_netns(lambda: remove("cbr0", "c1"))
    assert in_new_netns(lambda: remove("cbr0", "c2")) == ""
