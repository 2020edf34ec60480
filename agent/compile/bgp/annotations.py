"""What kube-router's annotations of a Node say of BGP, read as they are; passwords are in them in base64.

A mistake costs the peer, or the annotation, that it is in. A node may write its own annotations, which every agent
reads: no text of one makes another's agent stumble, or work for long.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from agent.model.address import Address, Network, is_peers, parse_address, parse_network
from agent.model.bgp import MAX_PASSWORD, PREFIX, Bfd, Password
from agent.model.community import Community, community
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.options.number import decimal
from agent.options.values import MAX_ASN, MAX_PORT, RESERVED_ASNS
from agent.options.yaml_text import YamlError, read_yaml

MAX_REPEATS = 255
MAX_PARTS = 256  # of a list
MAX_YAML = 1 << 15  # octets, which are read in half a second
_MAX_TEXT = 128  # characters of one value; base64 of a password has 108
_NULLS = ("", "~", "null", "Null", "NULL")  # of YAML: what says nothing
_GOBGP = {  # names that kube-router takes of GoBGP's, beside those of ours
    "internet": "0:0",
    "planned-shut": "65535:0",
    "route-filter-translated-v4": "65535:2",
    "route-filter-v4": "65535:3",
    "route-filter-translated-v6": "65535:4",
    "route-filter-v6": "65535:5",
}
_TRUE = frozenset({"y", "yes", "true", "on"})  # of YAML 1.1


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
class Unread:
    """A peer that is meant, or a whole list of peers, of which something cannot be read."""

    where: str  # the annotation's own name, and its place there: "peers[0]"
    address: Address | None = None  # where that can be read


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
    unread: tuple[Unread, ...] = ()
    problems: tuple[Problem, ...] = ()


NOTHING_SAID = NodeBgp()


@dataclass(slots=True)
class _Reading:
    node: str
    given: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def text(self, name: str) -> str:
        return self.given.get(f"{PREFIX}{name}", "").strip()

    def parts(self, name: str) -> tuple[str, ...]:
        """Its list; of an empty one nothing, and of one that is too long."""
        found = tuple(part.strip() for part in self.text(name).split(",")) if self.text(name) else ()
        if len(found) > MAX_PARTS:
            self.refuse(name, f"has {len(found)} values; give {MAX_PARTS} at most")
            return ()
        return found

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

    def asn(self, name: str, text: object, place: str = "") -> int | None:
        """A number that an AS may have."""
        found = self.number(name, text, 1, MAX_ASN, place)
        if found in RESERVED_ASNS:
            self.refuse(name, f"{found} is reserved, and no AS has it", place)
            return None
        return found

    def address(self, name: str, text: object, place: str = "") -> Address | None:
        """An address by which others can be reached."""
        try:
            found = parse_address(_short(text))
        except ValueError as error:
            self.refuse(name, str(error), place)
            return None
        if not is_peers(found):
            self.refuse(name, f"{found} is no address that other nodes can reach; give a unicast one", place)
            return None
        return found

    def password(self, name: str, text: object, place: str) -> Password | None:
        """A password, None for one that cannot be used: then there is no session, rather than one without."""
        try:
            # as in --peer-router-passwords-file a line's end is none of it: echo writes one
            plain = base64.b64decode(_short(text), validate=True).decode().rstrip("\r\n")
        except (binascii.Error, ValueError):
            self.refuse(name, "is no base64 of a text", place)
            return None
        if not plain or '"' in plain or not plain.isprintable() or len(plain.encode()) > MAX_PASSWORD:
            self.refuse(name, f'is no password of 1 to {MAX_PASSWORD} printable octets without "', place)
            return None
        return Password(plain)


def _short(text: object) -> str:
    """A value that is a text, and none that is too long for any; else one that is nothing."""
    return text if isinstance(text, str) and len(text) <= _MAX_TEXT else ""


def node_bgp(node: Node, *, is_own: bool = True) -> NodeBgp:
    """The meaning of a Node's annotations; with whom another node peers beside the nodes is its own affair."""
    if not node.bgp:
        return NOTHING_SAID
    read = _Reading(node.name, dict(node.bgp))
    asn = read.asn("node.asn", read.text("node.asn")) if read.text("node.asn") else 0
    server = _cluster_id(read, "rr.server")
    return NodeBgp(
        asn=asn or 0,
        server=server,
        client="" if server else _cluster_id(read, "rr.client"),  # a node with both is a reflector, as with kube-router
        peers=tuple(_peers(read)) if is_own else (),
        prepends=_prepends(read),
        communities=tuple(_communities(read)),
        rejects=tuple(_rejects(read)),
        unread=tuple(read.unread),
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
        read.unread.append(Unread("peer.ips"))
        return
    if read.text("peer.ips") and not ips:  # they are too many
        read.unread.append(Unread("peer.ips"))
    columns = {}
    for name in ("ports", "passwords", "localips"):
        found = read.parts(f"peer.{name}")
        if found and len(found) != len(ips):
            read.refuse(f"peer.{name}", f"has {len(found)} values for {len(ips)} peers; give one for each of peer.ips")
            if name == "passwords":
                read.unread.append(Unread("peer.ips"))
                return  # nobody knows whose they are
            found = ()
        columns[name] = found or ("",) * len(ips)
    rows = zip(ips, asns, columns["ports"], columns["passwords"], columns["localips"], strict=True)
    for index, (ip, asn, port, password, local) in enumerate(rows):
        given = {"remoteip": ip, "remoteasn": asn, "port": port, "password": password, "localip": local}
        yield from _peer(read, "peer.ips", index, {key: value for key, value in given.items() if value})


def _listed(read: _Reading) -> Iterator[AnnotatedPeer]:
    text = read.text("peers")
    if len(text) > MAX_YAML:
        read.refuse("peers", f"is longer than {MAX_YAML} octets")
        read.unread.append(Unread("peers"))
        return
    try:
        found = read_yaml(text, as_text=True)
    except YamlError:  # whose words show the text, and passwords in it
        found = None
    if not isinstance(found, list):
        read.refuse("peers", "is no list in YAML; write - remoteip: 192.0.2.1 and remoteasn: 64600 for each")
        read.unread.append(Unread("peers"))
        return
    if len(found) > MAX_PARTS:
        read.refuse("peers", f"has {len(found)} values; give {MAX_PARTS} at most")
        read.unread.append(Unread("peers"))
        return
    for index, one in enumerate(found):
        if isinstance(one, dict):
            yield from _peer(read, "peers", index, {key: value for key, value in one.items() if value not in _NULLS})
        else:
            read.refuse("peers", "has no fields; give remoteip and remoteasn", f"[{index}]")
            read.unread.append(Unread(f"peers[{index}]"))


def _peer(read: _Reading, name: str, index: int, given: Mapping[str, Any]) -> Iterator[AnnotatedPeer]:
    at = f"[{index}]"
    before = len(read.problems)
    address = read.address(name, given.get("remoteip", ""), f"{at}.remoteip")
    asn = read.asn(name, given.get("remoteasn", ""), f"{at}.remoteasn")
    port = read.number(name, given.get("port", 179), 1, MAX_PORT, f"{at}.port")
    local = read.address(name, given["localip"], f"{at}.localip") if "localip" in given else None
    if local is not None and address is not None and local.version != address.version:
        read.refuse(name, f"{local} is not of the family of {address}", f"{at}.localip")
    password = read.password(name, given["password"], f"{at}.password") if "password" in given else None
    bfd = _bfd(read, name, at, given.get("bfd"))
    if len(read.problems) == before and address is not None and asn and port:
        yield AnnotatedPeer(f"metadata.annotations['{PREFIX}{name}']{at}", address, asn, port, local, password, bfd)
    else:
        read.unread.append(Unread(f"{name}{at}", address))


def _bfd(read: _Reading, name: str, at: str, given: object) -> Bfd | None:
    if not isinstance(given, dict) or _short(given.get("enabled")).lower() not in _TRUE:
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
    number = read.asn("path-prepend.as", asn)
    repeats = read.number("path-prepend.repeat-n", times, 0, MAX_REPEATS)
    return (number,) * repeats if number and repeats else ()


def _communities(read: _Reading) -> Iterator[Community]:
    for index, text in enumerate(read.parts("node.bgp.communities")):
        try:
            yield community(_GOBGP.get(text, text[:_MAX_TEXT]))
        except ValueError as error:
            read.refuse("node.bgp.communities", str(error), f"[{index}]")


def _rejects(read: _Reading) -> Iterator[Network]:
    for index, text in enumerate(read.parts("node.bgp.customimportreject")):
        try:
            yield parse_network(text)
        except ValueError as error:
            read.refuse("node.bgp.customimportreject", str(error), f"[{index}]")
