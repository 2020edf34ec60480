"""Requests that go to netlink together: what they make is what `ip` and `tc` see, and a refusal is named."""

import errno
import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from agent.netlink import requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.counted import counted_links
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import add_altname, netdev_told
from agent.netlink.netns import inside
from agent.netlink.requests import get_link
from agent.netlink.rtnetlink import RTM_GETLINK, WITHOUT_STATISTICS, attribute, message, messages, packed
from agent.netlink.socket import Socket
from maps.netlink import End
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

_V1 = get_link(name="v1")
GATEWAY = ip_address("169.254.1.1")
MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def _pair(socket: Socket) -> int:
    """A veth pair within this namespace; the ifindex of v0."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        wanted = requests.add_veth("v0", MAC, 1400, peer="v1", peer_mac=PEER_MAC, netns=here)
        link = socket.ask(wanted, get_link(name="v0"))[0]
    finally:
        os.close(here)
    assert socket.find(index=link.peer) == socket.find(name="v1")
    return link.index


def _ip(words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *words.split()], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def test_one_write_makes_a_pair_with_addresses_neighbours_and_routes() -> None:
    def play() -> None:
        with Socket() as socket:
            index = _pair(socket)
            own, far = ip_address("10.0.0.1"), ip_address("fd00::9")
            socket.ask(
                requests.set_up(index, "a pod's"),
                requests.add_address(index, own),
                requests.set_neighbour(index, far, PEER_MAC),
                requests.set_route(index, far, 89),
                requests.set_route(index, ip_address("10.0.0.9"), 89),
                requests.set_default_route(index, ip_address("169.254.1.1")),
            )
            link = socket.find(name="v0")
            assert link is not None
            assert (link.mac, link.mtu) == (MAC, 1400)
        shown = _ip("link show v0")[0]
        assert (shown["ifalias"], "UP" in shown["flags"], shown["mtu"]) == ("a pod's", True, 1400)
        assert [a["local"] for a in _ip("addr show v0")[0]["addr_info"] if a["family"] == "inet"] == ["10.0.0.1"]
        assert [(n["dst"], n["lladdr"], n["state"]) for n in _ip("neigh show nud permanent")] == [
            ("fd00::9", PEER_MAC, ["PERMANENT"])
        ]
        assert [r["dst"] for r in _ip("-6 route show proto 89")] == ["fd00::9"]
        routes = {r["dst"]: (r.get("gateway"), r["protocol"], r.get("scope"), r["flags"]) for r in _ip("route show")}
        # the peer is down, so the routes wait for it
        assert routes["10.0.0.9"] == (None, "89", "link", ["linkdown"])
        assert routes["default"] == ("169.254.1.1", "static", None, ["onlink", "linkdown"])

    in_new_netns(play)


def test_the_first_refusal_is_told_and_what_stands_behind_it_is_done() -> None:
    def play() -> None:
        with Socket() as socket:
            index = _pair(socket)
            address = ip_address("10.0.0.1")
            with pytest.raises(OSError, match=r"add the address 10\.0\.0\.1: File exists") as refusal:
                socket.ask(
                    requests.add_address(index, address),
                    requests.add_address(index, address),
                    requests.set_up(999),
                    requests.set_up(index),
                )
            assert refusal.value.errno == errno.EEXIST
            assert "UP" in _ip("link show v0")[0]["flags"]
            with pytest.raises(OSError, match="set the device up: No such device"):
                socket.ask(requests.set_up(index), requests.set_up(999))
            assert socket.find(name="v0") is not None, "the next answer is not mistaken"

    in_new_netns(play)


def test_parts_are_done_up_to_the_first_that_is_refused() -> None:
    def play() -> None:
        conf = Path("/proc/sys/net/ipv4/conf")
        with Socket() as socket:
            index = _pair(socket)
            sysctls = SetSysctl(f"{conf}/v0/rp_filter", "2"), SetSysctl(f"{conf}/none/rp_filter", "2")
            links = run_batch(
                (*sysctls, socket.messages(requests.set_up(index), get_link(index=index)), socket.messages(_V1))
            )
            assert [link.index for link in links] == [index, links[0].peer]
            assert (conf / "v0/rp_filter").read_text() == "2\n"
            bad = SetSysctl(f"{conf}/v0/rp_filter", "no number")
            with pytest.raises(OSError, match="v0/rp_filter to no number: Invalid argument"):
                run_batch((bad, socket.messages(requests.delete_link(index))))
            with pytest.raises(OSError, match="set the device up: No such device"):
                run_batch((socket.messages(requests.set_up(999)), socket.messages(requests.delete_link(index))))
            assert socket.find(index=index) is not None, "what stands behind a refused part is not done"

    in_new_netns(play)


def test_a_batch_fills_in_the_numbers_of_the_pair_that_it_makes() -> None:
    def play() -> None:
        home, far = os.open("/proc/thread-self/ns/net", os.O_RDONLY), ip_address("10.0.0.2")
        conf = Path("/proc/sys/net/ipv4/conf")
        with Socket() as node:
            in_new_netns(lambda: there.extend((os.open("/proc/thread-self/ns/net", os.O_RDONLY), Socket())))
            netns, pod = there
            pod.ask(requests.add_veth("w0", MAC, 1400, peer="w1", peer_mac=PEER_MAC, netns=netns))
            pair = requests.add_veth("v0", MAC, 1400, peer="v1", peer_mac=PEER_MAC, netns=netns)
            far_side = (requests.set_up(0), requests.add_address(0, far), requests.set_neighbour(0, GATEWAY, MAC))
            links = run_batch(
                (
                    node.messages(pair, get_link(name="v0")),
                    SetSysctl(f"{conf}/v1/rp_filter", "2", netns),
                    pod.messages(*far_side, requests.set_default_route(0, GATEWAY), get_link(index=0), end=End.PEER),
                    node.messages(
                        requests.set_up(0), requests.set_route(0, far, 89), get_link(index=0), end=End.DEVICE
                    ),
                ),
                alone=True,
            )
            assert (links[0].index, links[0].peer) == (links[2].index, links[1].index)
            assert links[0].index != links[1].index, "the two namespaces count each for itself"
            assert [r["dev"] for r in _ip("route show proto 89")] == ["v0"]
            with inside(f"/proc/self/fd/{netns}"):
                assert (conf / "v1/rp_filter").read_text() == "2\n"
                assert [a["local"] for a in _ip("-4 addr show v1")[0]["addr_info"]] == ["10.0.0.2"]
                assert [(n["dst"], n["dev"]) for n in _ip("neigh show nud permanent")] == [(str(GATEWAY), "v1")]
                assert [r["dev"] for r in _ip("route show default")] == ["v1"]
            assert os.fstat(home).st_ino == os.stat("/proc/thread-self/ns/net").st_ino, "the thread came back"  # noqa: PTH116
            with pytest.raises(OSError, match="set the device up: No such device"):
                run_batch((node.messages(requests.set_up(0), end=End.DEVICE),))
            pod.close()
            os.close(netns)

    there: list[Any] = []
    in_new_netns(play)


def test_a_device_that_is_not_there_is_none() -> None:
    def play() -> None:
        with Socket() as socket:
            assert socket.find(name="v0") is None
            assert socket.find(index=99) is None
            index = _pair(socket)
            socket.ask(requests.delete_link(index))
            assert socket.find(name="v1") is None

    in_new_netns(play)


def test_attributes_are_read_as_they_were_packed() -> None:
    body = b"head" + packed(3, b"eth0\0") + packed(7, b"") + packed(3, b"second") + packed(1, b"12345678")
    assert (attribute(body, 4, 3), attribute(body, 4, 7), attribute(body, 4, 9)) == (b"eth0\0", b"", b"")
    assert attribute(body, 4, 1) == b"12345678"
    assert list(messages(message(16, 5, 2, body) + message(17, 0, 3, b""))) == [(16, 5, body), (17, 0, b"")]
    assert attribute(body[:-5], 4, 1) == b"123", "a cut one gives what there is"


def test_a_device_is_found_however_many_other_names_it_has() -> None:
    def play() -> None:
        with Socket() as socket, Dump(socket) as dump:
            index = _pair(socket)
            given = [f"{number:0127d}" for number in range(490)]
            for name in given:
                socket.ask(add_altname(index, name))
            found = socket.find(name="v0")
            assert (found is not None and found.mac) == MAC
            bodies = dump.read(RTM_GETLINK, bytes(16) + WITHOUT_STATISTICS)
            assert [list(one.altnames) for one in map(netdev_told, bodies) if one.index == index] == [given]
            assert [one.mac for one in counted_links(dump) if one.index == index] == [MAC]

    in_new_netns(play)


def test_a_message_that_is_cut_is_an_error_and_none_that_tells_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def play() -> None:
        with Socket() as ours, Dump(ours) as dump:
            monkeypatch.setattr("agent.netlink.socket.READ", 1000)
            with pytest.raises(OSError, match="1000 octets") as error:
                dump.read(RTM_GETLINK, bytes(16))
            assert error.value.errno == errno.EMSGSIZE

    in_new_netns(play)
