"""Chains of a container's host ports go, and nobody else's."""

import errno
import socket
import subprocess
from collections.abc import Callable, Mapping

import pytest

from agent.kernel.kube_proxy import legacy
from agent.kernel.portmap import Container, chain_name, remove
from agent.netlink.nftables import NfTables
from tests.agent.kernel.nets import in_new_netns

Left = Mapping[Container, str]

OURS, OTHER = chain_name("cbr0", "c1"), chain_name("cbr0", "c2")
# of the plugin's own tests
CONTAINER = (
    "icee6giejonei6sohng6ahngee7laquohquee9shiGo7fohferakah3Feiyoolu2"
    "pei7ciPhoh7shaoX6vai3vuf0ahfaeng8yohb9ceu0daez5hashee8ooYai5wa3y"
)


def nft(words: str) -> str:
    return subprocess.run(["nft", *words.split()], check=True, capture_output=True, text=True).stdout


def refused(failed: int) -> Callable[..., object]:
    """What fails in the place of a call."""

    def refuse(*_: object, **__: object) -> object:
        raise OSError(failed, "refused")

    return refuse


def left_beside_legacy() -> Left:
    """What is left of two containers, the first of which has its chain in iptables-legacy."""
    subprocess.run(["iptables-legacy", "-t", "nat", "-N", OURS], check=True)
    return remove([("cbr0", "c1"), ("cbr0", "c2")])


def test_a_chains_name_is_the_plugins() -> None:
    assert chain_name("testNetName", CONTAINER) == "CNI-DN-bfd599665540dd91d5d28"


@pytest.mark.netns
def test_the_chains_of_a_container_go_with_what_leads_to_them() -> None:
    def play() -> tuple[Left, str, Left]:
        for family in ("ip", "ip6"):
            nft(f"add table {family} nat")
            for chain in ("CNI-HOSTPORT-DNAT", OURS, OTHER):
                nft(f"add chain {family} nat {chain}")
            for port, chain in ((8080, OURS), (8443, OURS), (8081, OTHER)):
                nft(f"add rule {family} nat CNI-HOSTPORT-DNAT tcp dport {port} jump {chain}")
                nft(f"add rule {family} nat {chain} counter")
        return remove([("cbr0", "c1")]), nft("list ruleset"), remove([("cbr0", "c1")])

    first, left, again = in_new_netns(play)
    assert (first, again) == ({}, {})
    assert OURS not in left
    assert left.count(f"jump {OTHER}") == 2


@pytest.mark.netns
def test_chains_that_another_leads_to_are_told_and_hold_no_other_back() -> None:
    def play() -> tuple[Left, str]:
        nft("add table ip nat")
        for chain in ("CNI-HOSTPORT-DNAT", "MINE", OURS, OTHER):
            nft(f"add chain ip nat {chain}")
        for entry, chain in (("CNI-HOSTPORT-DNAT", OURS), ("CNI-HOSTPORT-DNAT", OTHER), ("MINE", OURS)):
            nft(f"add rule ip nat {entry} jump {chain}")
        return remove([("cbr0", "c1"), ("cbr0", "c2")]), nft("list ruleset")

    why, left = in_new_netns(play)
    assert [*why] == [("cbr0", "c1")]
    assert "cannot be removed" in why["cbr0", "c1"]
    assert OTHER not in left


@pytest.mark.netns
def test_where_there_are_none_nothing_is_left() -> None:
    assert in_new_netns(lambda: remove([("cbr0", "c1")])) == {}


@pytest.mark.netns
@pytest.mark.parametrize("failed", [errno.ENOBUFS, errno.EAGAIN, errno.EPERM])
@pytest.mark.parametrize("call", ["__init__", "chain"])
def test_what_cannot_be_read_may_be_there(monkeypatch: pytest.MonkeyPatch, failed: int, call: str) -> None:
    monkeypatch.setattr(NfTables, call, refused(failed))
    assert "cannot be looked for" in in_new_netns(lambda: remove([("cbr0", "c1")]))["cbr0", "c1"]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("call", "failed"),
    [
        pytest.param("__init__", errno.EPROTONOSUPPORT, id="without nfnetlink"),
        pytest.param("chain", errno.EINVAL, id="without nf_tables"),
    ],
)
def test_a_kernel_without_nf_tables_has_none(monkeypatch: pytest.MonkeyPatch, call: str, failed: int) -> None:
    monkeypatch.setattr(NfTables, call, refused(failed))
    assert in_new_netns(lambda: remove([("cbr0", "c1")])) == {}


@pytest.mark.netns
def test_a_chain_of_iptables_legacy_is_told_with_what_removes_it() -> None:
    left = in_new_netns(left_beside_legacy)
    assert [*left] == [("cbr0", "c1")]
    assert f"grep -v {OURS} | iptables-legacy-restore" in left["cbr0", "c1"]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("times", "says"),
    [pytest.param(2, "is there: iptables-legacy-save", id="a moment"), pytest.param(99, "cannot be", id="all along")],
)
def test_a_legacy_table_that_changes_while_it_is_read_is_not_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, times: int, says: str
) -> None:
    asked, changes = legacy.asked, iter(range(times))

    def changing(asking: socket.socket, level: int, option: int, content: bytes) -> bytes:
        if option == legacy.GET_ENTRIES and next(changes, None) is not None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return asked(asking, level, option, content)

    monkeypatch.setattr(legacy, "asked", changing)
    assert says in in_new_netns(left_beside_legacy)["cbr0", "c1"]
