"""Reads one object's fields and keeps the user's mistakes; the kinds' files are written in its words."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from agent.model.address import Address, Family, Network, family, is_peers, is_reachable, parse_address, parse_network
from agent.model.name import ObjectName, Problem, few
from agent.model.service import Protocol
from agent.options.values import MAX_PORT
from agent.watch.decode.kind import Decoded, Kind, Value
from agent.watch.decode.objects import Metadata
from agent.watch.decode.shared import Shared

T = TypeVar("T")
Labels = tuple[tuple[str, str], ...]


class Reader:
    """Reads an object's fields and keeps what was wrong with them."""

    def __init__(self, kind: Kind, metadata: Metadata, shared: Shared) -> None:
        self.kind = kind
        self.name = object_name(metadata, shared)
        self.shared = shared
        self.problems: list[Problem] = []  # so far

    def refuse(self, where: str, text: str) -> None:
        """Keep a problem; *where* is the field's JSON path."""
        self.problems.append(Problem(self.kind.object_kind, self.name, where, text))

    def result(self, value: Value | None) -> Decoded:
        """The object's meaning, with what was wrong in it."""
        return Decoded(self.kind, self.name, value, few(self.problems))

    def part(self, decoder: "msgspec.json.Decoder[T]", content: msgspec.Raw, where: str) -> T | None:
        """A part of the object that is decoded alone, so that a wrong shape costs no more than it."""
        try:
            return decoder.decode(content)
        except msgspec.DecodeError as error:
            self.problems.append(shape_problem(self.kind, self.name, error, where))
            return None

    def labels(self, metadata: Metadata) -> Labels:
        """The object's labels, sorted; of 5,000 pods most have the same few."""
        one = self.shared.one
        return one(tuple(one((one(key), value)) for key, value in sorted((metadata.labels or {}).items())))

    def address(self, text: str, where: str) -> Address | None:
        """Any address."""
        return self._parsed(parse_address, text, where)

    def network(self, text: str, where: str) -> Network | None:
        """Any network."""
        return self._parsed(parse_network, text, where)

    def reachable(self, text: str, where: str) -> Address | None:
        """An address that another node can reach; the datapath gives others a meaning of their own.

        The unspecified one stands for node ports in the maps.

        Source: the API server's ValidateEndpointIP.
        """
        address = self.address(text, where)
        if address is None:
            return None
        if not is_reachable(address):
            self.refuse(where, f"{address} is no address that other nodes can reach; give a unicast one")
            return None
        return address

    def peers(self, text: str, where: str) -> Address | None:
        """An address that a BGP session may be with, or from."""
        address = self.address(text, where)
        if address is None or is_peers(address):
            return address
        way_out = "give the interface that it is at" if address.is_link_local else "give a unicast one"
        self.refuse(where, f"{address} is no address that other nodes can reach; {way_out}")
        return None

    def reachables(self, texts: list[str] | None, where: str, wanted: Family | None = None) -> tuple[Address, ...]:
        """Those of a list's addresses that can be used, all of the *wanted* family if one is."""
        found: list[Address] = []
        for index, text in enumerate(texts or ()):
            address = self.reachable(text, f"{where}[{index}]")
            if address is None:
                continue
            if wanted is not None and family(address) is not wanted:
                self.refuse(f"{where}[{index}]", f"{address} is no {wanted} address")
            else:
                found.append(address)
        return tuple(found)

    def protocol(self, text: str | None, where: str) -> Protocol | None:
        """A protocol; absent means TCP."""
        try:
            return Protocol[text or "TCP"]
        except KeyError:
            self.refuse(where, f"{text!r} is none of TCP, UDP and SCTP")
            return None

    def port(self, number: int | None, where: str) -> int | None:
        """A port that packets can carry."""
        if number is None:
            self.refuse(where, "is missing; give a number from 1 to 65535")
        elif not 1 <= number <= MAX_PORT:
            self.refuse(where, f"{number} is no port; give a number from 1 to 65535")
        else:
            return number
        return None

    def _parsed(self, parse: Callable[[str], T], text: str, where: str) -> T | None:
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(where, str(error))
            return None


def object_name(metadata: Metadata, shared: Shared | None = None) -> ObjectName:
    """The name under which an object is known."""
    return ObjectName(shared.one(metadata.namespace) if shared else metadata.namespace, metadata.name)


def shape_problem(kind: Kind, name: ObjectName, error: msgspec.DecodeError, within: str = "") -> Problem:
    """From msgspec's words, such as "Expected `int`, got `str` - at `$.spec.ports[0].port`"."""
    text, _, where = str(error).partition(" - at `$")
    return Problem(kind.object_kind, name, f"{within}{where.rstrip('`')}".lstrip(".") or "(whole object)", text)
