"""What kube-router's annotations of a Node say of BGP, read as they are; passwords are in them in base64.

A mistake costs the peer, or the annotation, that it is in.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from agent.model.address import Address, Network, parse_address, parse_network
from agent.model.bgp import MAX_ASN, MAX_PASSWORD, PREFIX, Bfd, Password
from agent.model.community import Community, community
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.options.number import decimal
from agent.options.values import MAX_PORT
from agent.options.yaml_text import YamlError, read_yaml

MAX_REPEATS = 255


@dataclass(frozen=True, slots=True)
class AnnotatedPeer:
    """One of the peers that a Node names."""

    where: str  # the annotation, and its place there
    address: Address
    asn: int
    port: int = 179
    local: Address | None = None
    password: Password | None = None
    bfd: Bfd | None = None


@dataclass(frozen=True, slots=True)
class NodeBgp:
    """What a Node's annotations say."""

    asn: int = 0  # 0: the cluster's
    server: str = ""  # cluster id, as an IPv4 address, of the clients for which it reflects routes
    client: str = ""  # of the servers whose client it is
    peers: tuple[AnnotatedPeer, ...] = ()
    prepends: tuple[int, ...] = ()
    communities: tuple[Community, ...] = ()
    rejects: tuple[Network, ...] = ()
    local: tuple[Address, ...] = ()
    problems: tuple[Problem, ...] = ()


NOTHING_SAID = NodeBgp()


@dataclass(slots=True)
class _Reading:
    node: str
    given: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)

    def text(self, name: str) -> str:
        return self.given.get(f"{PREFIX}{name}", "").strip()

    def parts(self, name: str) -> tuple[str, ...]:
        """Its list; of an empty one nothing."""
        return tuple(part.strip() for part in self.text(name).split(",")) if self.text(name) else ()

    def refuse(self, name: str, text: str, place: str = "") -> None:
        where = f"metadata.annotations['{PREFIX}{name}']{place}"
        self.problems.append(Problem("Node", ObjectName("", self.node), where, text))

    def number(self, name: str, text: object, least: int, most: int, place: str = "") -> int | None:
        """A number within bounds; what is none is a problem, but its text may be a secret's neighbour and is kept."""
        number = decimal(text, most)
        if number is not None and number >= least:
            return number
        self.refuse(name, f"is no number from {least} to {most}", place)
        return None

    def address(self, name: str, text: object, place: str = "") -> Address | None:
        try:
            return parse_address(text if isinstance(text, str) else "")  # a list may be long beyond measure by aliases
        except ValueError as error:
            self.refuse(name, str(error), place)
            return None

    def password(self, name: str, text: object, place: str) -> Password | None:
        """A password, None for one that cannot be used: then there is no session, rather than one without."""
        try:
            # YAML has a number in digits alone
            plain = base64.b64decode(str(text) if isinstance(text, str | int) else "", validate=True).decode()
        except (binascii.Error, ValueError):
            self.refuse(name, "is no base64 of a text", place)
            return None
        if not plain or '"' in plain or not plain.isprintable() or len(plain.encode()) > MAX_PASSWORD:
            self.refuse(name, f'is no password of 1 to {MAX_PASSWORD} printable octets without "', place)
            return None
        return Password(plain)


def node_bgp(node: Node) -> NodeBgp:
    """The meaning of a Node's annotations."""
    if not node.bgp:
        return NOTHING_SAID
    read = _Reading(node.name, dict(node.bgp))
    asn = read.number("node.asn", read.text("node.asn"), 1, MAX_ASN) if read.text("node.asn") else 0
    return NodeBgp(
        asn=asn or 0,
        server=_cluster_id(read, "rr.server"),
        client=_cluster_id(read, "rr.client"),
        peers=tuple(_peers(read)),
        prepends=_prepends(read),
        communities=tuple(_communities(read)),
        rejects=tuple(_rejects(read)),
        local=tuple(
            found
            for index, text in enumerate(read.parts("bgp-local-addresses"))
            if (found := read.address("bgp-local-addresses", text, f"[{index}]")) is not None
        ),
        problems=tuple(read.problems),
    )


def _cluster_id(read: _Reading, name: str) -> str:
    text = read.text(name)
    if not text:
        return ""
    number = decimal(text, MAX_ASN)
    try:
        return str(IPv4Address(text if number is None else number))
    except ValueError:
        read.refuse(name, f"{text[:64]!r} is no cluster id; give a number, or write it as an IPv4 address")
        return ""


def _peers(read: _Reading) -> Iterator[AnnotatedPeer]:
    if read.text("peers"):
        yield from _listed(read)
        return
    ips, asns = read.parts("peer.ips"), read.parts("peer.asns")
    if len(ips) != len(asns):
        read.refuse("peer.asns", f"has {len(asns)} AS numbers for {len(ips)} peers; give one for each of peer.ips")
        return
    columns = {}
    for name in ("ports", "passwords", "localips"):
        found = read.parts(f"peer.{name}")
        if found and len(found) != len(ips):
            read.refuse(f"peer.{name}", f"has {len(found)} values for {len(ips)} peers; give one for each of peer.ips")
            if name == "passwords":
                return  # nobody knows whose they are
            found = ()
        columns[name] = found or ("",) * len(ips)
    rows = zip(ips, asns, columns["ports"], columns["passwords"], columns["localips"], strict=True)
    for index, (ip, asn, port, password, local) in enumerate(rows):
        given = {"remoteip": ip, "remoteasn": asn, "port": port, "password": password, "localip": local}
        yield from _peer(read, "peer.ips", index, {key: value for key, value in given.items() if value})


def _listed(read: _Reading) -> Iterator[AnnotatedPeer]:
    try:
        found = read_yaml(read.text("peers"))
    except YamlError:  # whose words show the text, and passwords in it
        found = None
    if not isinstance(found, list):
        read.refuse("peers", "is no list in YAML; write - remoteip: 192.0.2.1 and remoteasn: 64600 for each")
        return
    for index, one in enumerate(found):
        if isinstance(one, dict):
            yield from _peer(read, "peers", index, one)
        else:
            read.refuse("peers", "has no fields; give remoteip and remoteasn", f"[{index}]")


def _peer(read: _Reading, name: str, index: int, given: Mapping[str, Any]) -> Iterator[AnnotatedPeer]:
    at = f"[{index}]"
    before = len(read.problems)
    address = read.address(name, given.get("remoteip", ""), f"{at}.remoteip")
    asn = read.number(name, given.get("remoteasn", ""), 1, MAX_ASN, f"{at}.remoteasn")
    port = read.number(name, given.get("port", 179), 1, MAX_PORT, f"{at}.port")
    local = read.address(name, given["localip"], f"{at}.localip") if given.get("localip") else None
    password = read.password(name, given["password"], f"{at}.password") if given.get("password") else None
    bfd = _bfd(read, name, at, given.get("bfd"))
    if len(read.problems) == before and address is not None and asn and port:
        yield AnnotatedPeer(f"metadata.annotations['{PREFIX}{name}']{at}", address, asn, port, local, password, bfd)


def _bfd(read: _Reading, name: str, at: str, given: object) -> Bfd | None:
    if not isinstance(given, dict) or not given.get("enabled"):
        return None
    numbers = [
        read.number(name, given.get(key, default), 1, most, f"{at}.bfd.{key}")
        for key, default, most in (
            ("desired_min_tx_interval", 1000, 60_000),
            ("required_min_rx_interval", 1000, 60_000),
            ("detection_multiplier", 3, 255),
        )
    ]
    transmit_ms, receive_ms, multiplier = (number or 1 for number in numbers)
    return Bfd(transmit_ms, receive_ms, multiplier)


def _prepends(read: _Reading) -> tuple[int, ...]:
    asn, times = read.text("path-prepend.as"), read.text("path-prepend.repeat-n")
    if not asn and not times:
        return ()
    number = read.number("path-prepend.as", asn, 1, MAX_ASN)
    repeats = read.number("path-prepend.repeat-n", times, 0, MAX_REPEATS)
    return (number,) * repeats if number and repeats else ()


def _communities(read: _Reading) -> Iterator[Community]:
    for index, text in enumerate(read.parts("node.bgp.communities")):
        try:
            yield community(text)
        except ValueError as error:
            read.refuse("node.bgp.communities", str(error), f"[{index}]")


def _rejects(read: _Reading) -> Iterator[Network]:
    for index, text in enumerate(read.parts("node.bgp.customimportreject")):
        try:
            yield parse_network(text)
        except ValueError as error:
            read.refuse("node.bgp.customimportreject", str(error), f"[{index}]")
