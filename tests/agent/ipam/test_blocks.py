"""Nodes share pools by blocks: nothing is given twice, nothing stays taken, whoever dies at whichever request."""

import contextlib
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import urllib3

from agent.ipam.block_keeper import GONE_S, IDLE_S, SINGLE_S, SPARE_S, SPREAD_S
from agent.ipam.pool import AddressRefused, NoAddress
from agent.kube.client import Refused
from agent.kube.retry import Refusal
from agent.watch.decode.ip_pool import IP_POOL_KIND
from tests.agent.ipam.block_world import Died, Node, pool, world

SMALL: dict[str, Any] = {"blockSize": {"ipv4": 30, "ipv6": 126}}


def given(nodes: list[Node]) -> list[Any]:
    return [address for node in nodes for one in node.disk for address in one.all]


def assert_sound(nodes: list[Node]) -> None:
    """Nobody has what another has, and each address is of a block of its node."""
    every = given(nodes)
    assert len(every) == len(set(every))
    for node in nodes:
        for address in given([node]):
            assert any(address in ip_network(block) for block in node.blocks()), (node.name, address)


def test_each_node_gives_of_blocks_of_its_own_until_the_pool_is_used_up() -> None:
    api, nodes = world(pool("lan", "10.60.0.0/28", "fd00:60::/124", **SMALL), nodes=3)
    for _ in range(14):
        for node in nodes:
            try:
                node.give("lan")
            except NoAddress as error:
                assert "IPPool lan is used up" in str(error)  # noqa: PT017  of the nodes that come too late
    assert_sound(nodes)
    assert len([a for a in given(nodes) if a.version == 4]) == 14, "but the range's first and last"
    posts = [path for _, method, path in api.requests if method == "POST"]
    assert len(posts) <= 4 + 4 + 3, "one request a block, and one where another was faster"


def test_an_address_of_a_block_that_is_there_needs_no_api_server() -> None:
    api, (node, _) = world(pool("lan", "10.60.0.0/26", blockSize={"ipv4": 29}))
    first = node.give("lan")

    def away(_method: str, _path: str) -> None:
        raise urllib3.exceptions.HTTPError("no route to host")

    api.before = away
    rest = [node.give("lan") for _ in range(7)]
    assert len({first, *rest}) == 8
    with pytest.raises(NoAddress, match=r"IPPool lan: no block can be claimed now: no route to host"):
        node.give("lan")
    asked = len(api.requests)
    with pytest.raises(NoAddress, match="no route to host"):
        node.give("lan")
    assert len(api.requests) == asked, "it is left alone for a while"
    for one in (first, *rest):
        node.take(one)
    node.turn()
    node.turn(IDLE_S)
    assert node.give("lan") in {first, *rest}, "a block that cannot be given back serves on"
    for _ in rest:
        node.give("lan")
    api.before = lambda *_: None
    node.now += 60
    node.give("lan")
    assert_sound([node])


def test_what_nobody_uses_is_given_back_after_a_while_and_another_node_has_it() -> None:
    _, (one, other) = world(pool("lan", "10.60.0.0/30", blockSize={"ipv4": 30}))
    had = one.give("lan")
    with pytest.raises(NoAddress):
        other.give("lan")
    one.turn(IDLE_S * 2)
    assert one.blocks() == ["10.60.0.0/30"], "a pod has an address of it"
    one.take(had)
    one.turn()
    one.turn(IDLE_S / 2)
    assert one.blocks() == ["10.60.0.0/30"]
    one.turn(IDLE_S)
    assert one.blocks() == []
    assert other.give("lan") == had


def test_a_pod_after_another_that_asks_for_an_address_far_away_takes_not_all_blocks_from_others() -> None:
    """Who may make pods chooses their addresses, and each is of a block that is the node's from then on."""
    _, (one, other) = world(pool("lan", "10.60.0.0/24", blockSize={"ipv4": 28}))
    for number in range(32):
        one.take(one.give("lan", ip_address(f"10.60.0.{number % 16 * 16 + 5}")))
        one.turn(SPARE_S / 4)
        assert len(one.blocks()) < 8
    other.give("lan")
    for _ in range(2):
        one.turn(SPARE_S)
    assert len(one.blocks()) == 1, "the last is kept for the next pod"
    one.turn(IDLE_S)
    assert one.blocks() == []


def test_what_is_excluded_static_or_a_gateways_is_given_to_nobody_who_does_not_ask() -> None:
    spec: dict[str, Any] = {"exclude": ["10.60.0.4-10.60.0.6"], "static": ["10.60.0.16/28"], "gateways": ["10.60.0.1"]}
    _, (one, other) = world(pool("lan", "10.60.0.0/27", blockSize={"ipv4": 28}, **spec))
    got = []
    with contextlib.suppress(NoAddress):
        while True:
            got.append(str(one.give("lan").ipv4))
    assert got == [f"10.60.0.{n}" for n in (2, 3, *range(7, 16))]
    for address, why in {
        "10.60.0.5": "is excluded",
        "10.60.0.1": "is the gateway's",
        "10.60.0.0": "first or last",
    }.items():
        with pytest.raises(AddressRefused, match=why):
            one.give("lan", ip_address(address))
    with pytest.raises(NoAddress, match=r"10\.60\.0\.3 is of IPBlock 10\.60\.0\.0-28, which node n1 has"):
        other.give("lan", ip_address("10.60.0.3"))
    held = one.give("lan", ip_address("10.60.0.20"))
    assert str(held.ipv4) == "10.60.0.20"
    with pytest.raises(NoAddress, match="which node n1 has"):
        other.give("lan", ip_address("10.60.0.20"))
    one.take(held)
    one.turn()
    one.turn(SINGLE_S)
    assert other.give("lan", ip_address("10.60.0.20")) == held, "the pod came up on another node"
    assert_sound([one, other])


@pytest.mark.parametrize(
    ("cidrs", "address"),
    [
        pytest.param(("10.60.0.0/28",), "10.99.0.9", id="of a pool of its family"),
        pytest.param(("10.60.0.0/28", "fd00:60::/124"), "10.99.0.9", id="of a pool of both families"),
        pytest.param(("10.60.0.0/28",), "fd00:60::9", id="of a pool of the other family"),
    ],
)
def test_an_address_outside_a_pool_is_refused_with_its_ranges_and_costs_no_block(
    cidrs: tuple[str, ...], address: str
) -> None:
    _, (node, _) = world(pool("lan", *cidrs))
    text = f"{address} is in no range of IPPool lan ({', '.join(cidrs)})"
    with pytest.raises(AddressRefused, match=re.escape(text)):
        node.give("lan", ip_address(address))
    assert (node.blocks(), node.ipam.in_use()) == ([], ())


def test_blocks_of_a_node_that_is_gone_are_freed_once_it_has_no_pods() -> None:
    api, (one, other) = world(pool("lan", "10.60.0.0/30", blockSize={"ipv4": 30}))
    one.give("lan")
    api.others = [(kind, found) for kind, found in api.others if found["metadata"]["name"] != "n1"]
    api.pods["n1"] = 1
    other.look()
    other.turn()
    other.turn(GONE_S - 1)
    assert not [path for node, _, path in api.requests if path == "/api/v1/pods"], "not before"
    other.turn(SPREAD_S + 1)
    assert one.blocks() == ["10.60.0.0/30"], "the API server has a pod of it still"
    for api.proxy in (b"{}", b'{"kind":"Status","status":"Failure"}', b"<html>", list_of("Node")):
        other.turn(60)
        assert one.blocks() == ["10.60.0.0/30"], "what is no list of pods does not say that there are none"
    api.proxy = b""
    api.pods["n1"] = 0
    other.turn(60)
    assert one.blocks() == []
    assert other.give("lan").ipv4 == ip_address("10.60.0.1")


@pytest.mark.parametrize("network", ["", "vlan100"], ids=["the cluster's", "one beside it"])
def test_a_block_that_somebody_removes_while_pods_have_addresses_of_it_is_made_again(network: str) -> None:
    api, (one, other) = world(pool("lan", "10.60.0.0/30", network=network, blockSize={"ipv4": 30}))
    had = one.give("lan", network=network)
    api.blocks.clear()
    api.changed()
    one.turn()
    assert (one.blocks(), one.problems) == (["10.60.0.0/30"], ())
    api.blocks.clear()
    api.changed()
    other.give("lan", network=network)
    one.turn()
    (problem,) = one.problems
    assert (problem.kind, str(problem.name), str(had.ipv4) in problem.text) == ("IPPool", "lan", True)


def test_a_watch_that_is_behind_costs_one_block_and_not_one_for_each_pod_that_waits() -> None:
    api, (one, other) = world(pool("lan", "10.60.0.0/27", blockSize={"ipv4": 30}))
    one.is_blind = True
    for _ in range(5):
        with pytest.raises(NoAddress, match="the watch has not brought IPBlock"):
            one.give("lan")
    assert len(one.blocks()) == 1
    del api.blocks[next(iter(api.blocks))]
    with pytest.raises(NoAddress, match="the watch has not brought IPBlock"):
        one.give("lan")
    assert len(one.blocks()) == 1, "where it is gone again another is claimed"
    one.is_blind = False
    one.look()
    for node in (one, one, other):
        node.give("lan")
    assert_sound([one, other])
    assert len(one.blocks()) == 1


def test_a_block_that_was_given_back_serves_again_when_it_is_claimed_again_by_a_watch_that_is_behind() -> None:
    api, (one, _) = world(pool("lan", "10.60.0.0/27", blockSize={"ipv4": 30}))
    one.take(one.give("lan"))
    one.turn()
    one.turn(IDLE_S)
    assert one.blocks() == []
    one.is_blind = True
    with pytest.raises(NoAddress, match="the watch has not brought IPBlock"):
        one.give("lan")
    one.is_blind = False
    api.changed()
    one.turn()
    one.give("lan")
    assert len(one.blocks()) == 1
    assert_sound([one])


@pytest.mark.parametrize("is_at_once", [True, False], ids=["while one looks", "before one makes its own"])
def test_of_two_nodes_that_claim_blocks_of_different_lengths_not_both_have_an_address(*, is_at_once: bool) -> None:
    """The pool was made anew with other blocks, and one node's watch is behind."""
    api, (behind, ahead) = world(pool("lan", "10.60.0.0/30", blockSize={"ipv4": 30}))
    behind.is_blind = ahead.is_blind = True
    api.others = [(kind, one) for kind, one in api.others if kind is not IP_POOL_KIND]
    api.others.append((IP_POOL_KIND, pool("lan", "10.60.0.0/30", blockSize={"ipv4": 31})))
    ahead.look()

    def other_claims(method: str, _path: str) -> None:
        if method == "POST" and api.requests[-1][0] == "n1":
            ahead.is_blind = is_at_once
            with contextlib.suppress(NoAddress):
                ahead.give("lan")

    if is_at_once:
        api.after = other_claims
    else:
        api.before = other_claims
    with pytest.raises(NoAddress):
        behind.give("lan")
    assert (behind.blocks(), len(ahead.disk)) == ((["10.60.0.0/30"], 0) if is_at_once else ([], 1))
    behind.is_blind = False
    behind.look()
    behind.now = 60.0
    with contextlib.suppress(NoAddress):
        behind.give("lan")
    assert_sound([behind, ahead])


@pytest.mark.parametrize("is_done", [True, False], ids=["after it", "before it"])
@pytest.mark.parametrize("how", ["dies", "hears nothing"])
def test_a_node_that_at_any_request_gives_nothing_twice_and_keeps_nothing(how: str, *, is_done: bool) -> None:
    """Every request of a life is one that the agent dies at, or has no answer to; the next agent goes on."""
    total, at = 1, 0
    while at < total:
        total = _life(at, how, is_done=is_done)
        at += 1
    assert total >= 6, "two blocks claimed, looked at and given back"


def _life(at: int, how: str, *, is_done: bool) -> int:
    api, (one, other) = world(pool("lan", "10.60.0.0/29", blockSize={"ipv4": 30}))
    left = [at]

    def strike(_method: str, _path: str) -> None:
        if api.requests[-1][0] == "n1":
            left[0] -= 1
            if left[0] == -1:
                raise Died if how == "dies" else urllib3.exceptions.ReadTimeoutError(None, "", "timed out")  # type: ignore[arg-type]

    if is_done:
        api.after = strike
    else:
        api.before = strike

    def does(step: Callable[[], object]) -> None:
        """Until it is done, by whichever agent; the runtime tries again."""
        for _ in range(3):
            try:
                step()
            except Died:
                one.start()
            except NoAddress:
                one.now += 60
            else:
                return

    for _ in range(4):
        does(lambda: one.give("lan"))
    assert_sound([one, other])
    while one.disk:
        one.take(one.disk[0])
    for _ in range(6):
        does(lambda: one.turn(IDLE_S + 60))
    api.changed()
    for _ in range(2):
        does(lambda: one.turn(IDLE_S + 60))
    assert api.blocks == {}, "nothing is kept"
    for _ in range(6):
        other.give("lan")
    assert_sound([one, other])
    return len([node for node, *_ in api.requests if node == "n1"])


def test_a_block_that_cannot_be_given_back_is_not_used_and_tried_again() -> None:
    api, (one, _) = world(pool("lan", "10.60.0.0/29", blockSize={"ipv4": 30}))
    one.take(one.give("lan"))

    def refuse(method: str, _path: str) -> None:
        if method == "DELETE":
            raise Refused("DELETE", Refusal(503))

    api.before = refuse
    one.turn()
    one.turn(IDLE_S)
    (kept,) = one.blocks()
    assert one.give("lan").ipv4 not in ip_network(kept)
    api.before = lambda *_: None
    one.turn(IDLE_S)
    assert kept not in one.blocks()


def test_a_pod_has_both_families_also_where_a_block_goes_while_it_waits_for_the_other() -> None:
    api, (one, _) = world(pool("lan", "10.60.0.0/28", "fd00:60::/124", **SMALL))
    one.take(one.give("lan"))
    one.turn()
    (six,) = (name for name in api.blocks if name.startswith("fd00"))
    del api.blocks[six]  # given back a moment ago
    api.changed()

    def late(method: str, _path: str) -> None:
        if method == "POST":
            api.before = lambda *_: None
            one.turn(IDLE_S)
            assert one.blocks() == [], "nobody has an address of the other either"

    api.before = late
    given_now = one.give("lan")
    assert (given_now.ipv4 is not None, given_now.ipv6 is not None) == (True, True)
    assert_sound([one])


def test_networks_beside_the_clusters_have_books_of_their_own() -> None:
    beside = pool("v100", "10.60.0.0/30", network="vlan100", blockSize={"ipv4": 30})
    api, (one, _) = world(pool("lan", "10.60.0.0/30", blockSize={"ipv4": 30}), beside)
    assert one.give("lan") == one.give("v100", network="vlan100"), "one address, on two networks"
    assert sorted(api.blocks) == ["10.60.0.0-30", "10.60.0.0-30.vlan100"]
    assert one.cluster().nodes["n1"].pod_ranges == (ip_network("10.60.0.0/30"),), "what is routed to it"


def test_api_objects_have_names_that_the_api_server_takes() -> None:
    api, (one, _) = world(pool("lan", "10.60.0.0/26", "fd00:60::/122"))
    one.give("lan")
    assert sorted(api.blocks) == ["10.60.0.0-26", "fd00-0060-0000-0000-0000-0000-0000-0000-122"]


def list_of(kind: str) -> bytes:
    return b'{"kind":"%sList","metadata":{"resourceVersion":"9"},"items":[]}' % kind.encode()
