"""A router of the site's beside a node's BIRD: what it tells costs no other route, and is kept as was asked."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET, Keeper
from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import BgpPeer, within
from agent.model.name import Problem
from agent.threads import Threads
from tests.agent.compile.bgp.bgp_world import PEER, PLAIN, node, world
from tests.agent.compile.objects import HERE
from tests.patience import until

pytestmark = pytest.mark.netns

FAR = "198.51.100.0/24"
ASKED = (within(ip_network("0.0.0.0/0")), within(ip_network(FAR)))
RESTART_S = 2  # of graceful restart
NODE_ASN, ROUTER_ASN = 64512, 64600


class Pair:
    """A node's namespace and a router's, one link apart, each with a BIRD."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[tuple[Problem, ...]] = []
        self.names = {one: f"swbgp{os.getpid()}{one}" for one in ("n", "r")}
        self.birds: dict[str, subprocess.Popen[bytes]] = {}
        self.keeper = Keeper(folder, "n1", Threads(), self.problems.append)
        for one in self.names.values():
            self.run("ip", "netns", "add", one)
        self.run("ip", "-n", self.names["n"], "link", "add", "e", "type", "veth", "peer", "e", "netns", self.names["r"])
        for one, address in (("n", "192.0.2.11/24"), ("r", "192.0.2.1/24")):
            self.run("ip", "-n", self.names[one], "address", "add", address, "dev", "e")
            self.run("ip", "-n", self.names[one], "link", "set", "e", "up")

    @staticmethod
    def run(*words: str) -> str:
        """What it says."""
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def start(self, one: str, config: Path, control: Path) -> None:
        """A BIRD."""
        argv = ["ip", "netns", "exec", self.names[one], "bird", "-f", "-c", str(config), "-s", str(control)]
        self.birds[one] = subprocess.Popen(argv, stderr=subprocess.DEVNULL)

    def node_peers(self, peer: BgpPeer, settings: BgpSettings = PLAIN) -> None:
        """Have the node's BIRD be the router's peer."""
        given = world(node(HERE, 11, families="4"), peers=(peer,))
        router = bgp(given, settings, None, HERE, OFF, (), (ip_network("192.0.2.0/24"),)).router
        assert router is not None
        self.keeper.want(router)
        self.keeper.start()
        until((self.folder / FOLDER / CONFIG).exists, "no configuration")
        self.start("n", self.folder / FOLDER / CONFIG, self.folder / FOLDER / SOCKET)

    def router_tells(self, *networks: str, asn: int = ROUTER_ASN, hop: str = "", more: str = "") -> None:
        """Have the router tell these, by another next hop than its own if one is given."""
        config, control = self.folder / "router.conf", self.folder / "router.ctl"
        export = f"filter {{ bgp_next_hop = {hop}; accept; }}" if hop else "all"
        way = f"ipv4 {{ import all; export {export}; }};"
        config.write_text(
            "router id 192.0.2.1;\nprotocol device { }\n"
            f"protocol static {{ ipv4; {' '.join(f'route {one} blackhole;' for one in networks)} }}\n"
            f"protocol bgp n {{ local 192.0.2.1 as {asn}; neighbor 192.0.2.11 as {NODE_ASN}; connect delay time 1; "
            f"connect retry time 1; error wait time 1, 2; "
            f"{more} {way} }}\n"
        )
        if "r" in self.birds:
            self.run("birdc", "-s", str(control), "configure")
        else:
            self.start("r", config, control)

    def routes(self) -> str:
        """The node's kernel's."""
        return self.run("ip", "-n", self.names["n"], "route")

    def has_taken(self, network: str) -> bool:
        """Whether the node's BIRD has it of the router."""
        of = "peer_192_0_2_1"
        argv = ["birdc", "-s", str(self.folder / FOLDER / SOCKET), "show", "route", network, "protocol", of]
        return f"[{of}" in subprocess.run(argv, check=False, capture_output=True, text=True).stdout

    def end(self) -> None:
        """Leave nothing behind."""
        self.keeper.stop()
        for one in self.birds.values():
            one.kill()
            one.wait()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"asn": NODE_ASN}, id="a router of the same AS"),
        pytest.param({"asn": ROUTER_ASN, "multihop": 5}, id="one that may be hops away"),
    ],
)
def test_a_route_whose_next_hop_leads_nowhere_takes_the_place_of_none(pair: Pair, said: dict[str, Any]) -> None:
    pair.run("ip", "-n", pair.names["n"], "route", "add", "default", "via", "192.0.2.1", "metric", "100")
    pair.node_peers(replace(PEER, imports=ASKED, **said))
    more = "multihop 5;" if "multihop" in said else ""
    # a next hop that the default route leads to, and then that very default route by it
    pair.router_tells("0.0.0.0/0", FAR, asn=said["asn"], hop="10.255.0.1", more=more)
    until(lambda: pair.has_taken("0.0.0.0/0") and pair.has_taken(FAR), "it tells nothing")
    time.sleep(2.5)  # in which BIRD looks at the kernel's routes again
    assert "unreachable" not in pair.routes()
    assert "via 192.0.2.1" in pair.run("ip", "-n", pair.names["n"], "route", "get", "203.0.113.1")


def test_a_dead_routers_routes_go_after_graceful_restart_however_long_it_would_have_them_kept(pair: Pair) -> None:
    settings = replace(PLAIN, restart_s=RESTART_S, restart_time_s=RESTART_S)
    pair.node_peers(replace(PEER, imports=ASKED), settings)
    kept = f"graceful restart on; graceful restart time {RESTART_S}; "
    pair.router_tells(FAR, more=f"{kept} long lived graceful restart on; long lived stale time 3600;")
    until(lambda: FAR in pair.routes(), "it is not taken")
    pair.birds["r"].kill()
    until(lambda: FAR not in pair.routes(), "it is kept")


def test_of_a_router_that_told_too_much_what_it_tells_later_is_taken(pair: Pair) -> None:
    pair.node_peers(replace(PEER, imports=ASKED, import_limit=2))
    pair.router_tells("198.51.100.1/32", "198.51.100.2/32")
    until(lambda: pair.routes().count("198.51.100.") == 2, "they are not taken")
    pair.router_tells(*(f"198.51.100.{number}/32" for number in range(1, 5)))
    until(lambda: any("spec.import.limit" in str(one) for told in pair.problems[-1:] for one in told), "nobody is told")
    assert pair.routes().count("198.51.100.") == 2
    pair.router_tells("198.51.100.4/32")
    until(lambda: "198.51.100.4" in pair.routes(), "what it tells now is not taken")
    until(lambda: pair.problems[-1] == (), "it is still named")
