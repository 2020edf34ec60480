"""nf_tables over netlink: its numbers, what a table's chains are and jump to, and transactions that take some away.

Of rules only the jumps are read. A node may have a hundred thousand, so chains are listed by themselves, and the rules
of a chain when they are asked for.
"""

import errno
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, attribute, message, messages, packed, text
from agent.netlink.socket import Socket

NETLINK_NETFILTER: Final = 12  # linux/netlink.h
NFPROTO_UNSPEC, NFPROTO_IPV4, NFPROTO_IPV6 = 0, 2, 10  # linux/netfilter.h
# linux/netfilter/nfnetlink.h
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
# linux/netfilter/nf_tables.h
_GETTABLE, _DELTABLE, _GETCHAIN, _DELCHAIN, _GETRULE, _DELRULE = 1, 2, 4, 5, 7, 8
_TABLE_NAME: Final = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK = 1, 3, 4
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 1, 2, 3, 4
_EXPRESSION_DATA, _IMMEDIATE_DATA, _DATA_VERDICT, _VERDICT_CHAIN = 2, 2, 2, 2

_GENERIC = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource
_LENGTH = struct.Struct("=HH")  # struct nlattr: length, type
_ANSWER = struct.Struct("=iIHxxI")  # struct nlmsgerr: error, and of the header that it answers: length, type, number
# what a kernel answers that has no nfnetlink, or no nf_tables: socket(), a batch and any other message
ABSENT: Final = frozenset({errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})
_MESSAGES: Final = 500  # of one transaction: they fit the room that a socket has to send, 212,992 octets


@dataclass(frozen=True, slots=True, order=True)
class Table:
    """A table by its family (``NFPROTO_*``) and name."""

    family: int
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Chain:
    """A chain; one with a hook is where the kernel's packets come in, and iptables' tools call it built in."""

    table: Table
    name: str
    has_hook: bool


@dataclass(frozen=True, slots=True, order=True)
class Jump:
    """A rule that leads to another chain of its table."""

    rule: int  # the kernel's handle
    to: str


class NfTables:
    """The tables of the network namespace in which it was made; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = Socket(protocol=NETLINK_NETFILTER)
        self._dump = Dump(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def tables(self) -> Iterator[Table]:
        """All tables of all families.

        Raises:
            OSError: the kernel has no nf_tables, or refused.
        """
        for body in self._read(_GETTABLE, NFPROTO_UNSPEC):
            yield Table(body[0], text(attribute(body, _GENERIC.size, _TABLE_NAME)))

    def chains(self) -> Iterator[Chain]:
        """All chains of all tables.

        Raises:
            OSError: as :meth:`tables`.
        """
        for body in self._read(_GETCHAIN, NFPROTO_UNSPEC):
            table = Table(body[0], text(attribute(body, _GENERIC.size, _CHAIN_TABLE)))
            name = text(attribute(body, _GENERIC.size, _CHAIN_NAME))
            yield Chain(table, name, bool(attribute(body, _GENERIC.size, _CHAIN_HOOK)))

    def chain(self, table: Table, name: str) -> Chain | None:
        """A table's chain of this name, without a look at others; None: there is no such chain, or no such table.

        Raises:
            OSError: as :meth:`tables`.
        """
        asked = packed(_CHAIN_TABLE, _name(table.name)) + packed(_CHAIN_NAME, _name(name))
        try:
            body = self._dump.one(_SUBSYSTEM << 8 | _GETCHAIN, _GENERIC.pack(table.family, 0, 0) + asked)
        except FileNotFoundError:
            return None
        return Chain(table, name, bool(attribute(body, _GENERIC.size, _CHAIN_HOOK)))

    def jumps(self, chain: Chain) -> Iterator[Jump]:
        """The rules of a chain that jump or go to another one; what a verdict map leads to is not among them.

        Raises:
            OSError: as :meth:`tables`.
        """
        asked = packed(_RULE_TABLE, _name(chain.table.name)) + packed(_RULE_CHAIN, _name(chain.name))
        for body in self._read(_GETRULE, chain.table.family, asked):
            rule = int.from_bytes(attribute(body, _GENERIC.size, _RULE_HANDLE))
            for expression in _nested(attribute(body, _GENERIC.size, _RULE_EXPRESSIONS)):
                data = attribute(attribute(expression, 0, _EXPRESSION_DATA), 0, _IMMEDIATE_DATA)
                if to := text(attribute(attribute(data, 0, _DATA_VERDICT), 0, _VERDICT_CHAIN)):
                    yield Jump(rule, to)

    def remove_table(self, table: Table) -> None:
        """Take a table away with all that is in it.

        Raises:
            OSError: the kernel refused.
        """
        self._commit([(_DELTABLE, table.family, packed(_TABLE_NAME, _name(table.name)))])

    def remove_rules(self, rules: Iterable[tuple[Chain, int]]) -> None:
        """Take rules out of their chains by their handles, all of them or none up to some hundreds.

        Raises:
            OSError: the kernel refused; as a rule that is gone by now.
        """
        self._commit(
            (
                _DELRULE,
                chain.table.family,
                packed(_RULE_TABLE, _name(chain.table.name))
                + packed(_RULE_CHAIN, _name(chain.name))
                + packed(_RULE_HANDLE, rule.to_bytes(8)),
            )
            for chain, rule in rules
        )

    def remove_chains(self, chains: Iterable[Chain]) -> None:
        """Take chains away, with their rules, to which no rule of another chain leads.

        Raises:
            OSError: the kernel refused, as where something leads to one (EBUSY); some are empty then, or gone.
        """
        found = tuple(chains)
        self._commit(
            (
                _DELRULE,
                chain.table.family,
                packed(_RULE_TABLE, _name(chain.table.name)) + packed(_RULE_CHAIN, _name(chain.name)),
            )
            for chain in found
        )
        self._commit(
            (
                _DELCHAIN,
                chain.table.family,
                packed(_CHAIN_TABLE, _name(chain.table.name)) + packed(_CHAIN_NAME, _name(chain.name)),
            )
            for chain in found
        )

    def _read(self, kind: int, family: int, attributes: bytes = b"") -> list[bytes]:
        return self._dump.read(_SUBSYSTEM << 8 | kind, _GENERIC.pack(family, 0, 0) + attributes)

    def _commit(self, requests: Iterable[tuple[int, int, bytes]]) -> None:
        """Do requests, each a type, a family and attributes, in transactions of some hundreds."""
        waiting = list(requests)
        for at in range(0, len(waiting), _MESSAGES):
            self._transact(waiting[at : at + _MESSAGES])

    def _transact(self, requests: list[tuple[int, int, bytes]]) -> None:
        """One transaction: all or nothing."""
        bound, last = _GENERIC.pack(NFPROTO_UNSPEC, 0, _SUBSYSTEM), len(requests)
        content = [message(_BEGIN, NLM_F_REQUEST, 0, bound)]
        for number, (kind, family, attributes) in enumerate(requests, 1):
            flags = NLM_F_REQUEST | (NLM_F_ACK if number == last else 0)
            body = _GENERIC.pack(family, 0, 0) + attributes
            content.append(message(_SUBSYSTEM << 8 | kind, flags, number, body))
        content.append(message(_END, NLM_F_REQUEST, last + 1, bound))
        self._socket.send(b"".join(content))
        self._await(last)

    def _await(self, last: int) -> None:
        """Until the request numbered *last* is answered, as what was refused before it is before that."""
        refused = 0
        while True:
            answer = self._socket.receive()
            for kind, _, body in messages(answer):
                if kind != NLMSG_ERROR:
                    continue
                error, _, _, number = _ANSWER.unpack_from(body)
                refused = refused or -error
                if number in {0, last}:  # 0: the whole transaction was refused
                    if refused:
                        raise OSError(refused, f"nf_tables: {os.strerror(refused)}")
                    return


def _name(name: str) -> bytes:
    return name.encode() + b"\0"


def _nested(value: bytes) -> Iterator[bytes]:
    """The values of a list's elements."""
    at = 0
    while at + _LENGTH.size <= len(value):
        length, _ = _LENGTH.unpack_from(value, at)
        if length < _LENGTH.size:
            return
        yield value[at + _LENGTH.size : at + length]
        at += (length + 3) & ~3
