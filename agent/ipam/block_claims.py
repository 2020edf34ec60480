"""Blocks of IPPools claimed for this node at the API server, without a lock that all nodes share.

Whoever makes the object of a block has it: its name follows from its range, and of two of one name there is one. Blocks
of different lengths have different names; so a block is used only after a list, asked for when it was there already,
has shown no other that overlaps it. Of two nodes that claim at once one at least sees the other, and gives way.

Nothing of this is remembered over a restart: a block of ours that nobody has an address of is looked at anew.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2s
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any

import msgspec

from agent.compile.ip_pool import block_of, next_block, taken
from agent.ipam.pool import NoAddress
from agent.kube.answers import items_of
from agent.kube.client import TROUBLE, Client, Refused
from agent.kube.retry import backoff_s, refusal
from agent.log import logger
from agent.model.address import Address, Network
from agent.model.cluster import Cluster
from agent.model.ip_pool import IP_BLOCK, RANGE_LABEL, RANGE_LENGTHS, IpBlock, IpPool, block_name, overlap
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.ip_block import IP_BLOCK_KIND

log = logger(__name__)

PATH = IP_BLOCK_KIND.path
TIMEOUT_S = 5.0
ATTEMPTS = 16  # blocks that others had first, for one claim
SEEN_S = 5.0  # until the watch has brought what was made
LOOK_S = 0.01
LONGEST_S = 10.0  # between two tries, where the API server does not answer
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be claimed: a block of a pool for addresses of a version, or the one that has this address."""

    pool: IpPool
    version: int
    address: Address | None = None


class BlockClaims:
    """The claims of one node; called from a thread per request, and from the keeper's."""

    def __init__(  # noqa: PLR0913  whom it asks
        self,
        client: Client,
        node_name: str,
        cluster: Callable[[], Cluster],
        services: Iterable[Network] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """*services* are the ranges of Services, which no block is of; *draw* gives jitter."""
        self._client, self._node, self._cluster = client, node_name, cluster
        self._services = tuple(services)
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._decoder = Decoder(node_name)
        self._lock = threading.Lock()  # one claim at a time: those who wait for the same may need none any more
        self._confirmed: set[str] = set()  # uids of blocks that overlap no other's
        self._leaving: set[str] = set()  # uids of blocks that are being given back, or may be gone already
        self._unseen: dict[str, IpBlock] = {}  # by name: made here, and not brought by the watch yet
        self._failures = 0  # in a row
        self._retry_at, self._why = 0.0, ""

    def is_usable(self, block: IpBlock) -> bool:
        """Whether addresses may be given of a block of ours."""
        return block.uid in self._confirmed and block.uid not in self._leaving

    def trust(self, block: IpBlock) -> None:
        """Use a block without looking for others: addresses of it are in use here from before."""
        self._confirmed.add(block.uid)

    def claim_block(
        self, pool: IpPool, version: int, address: Address | None, is_needed: Callable[[], bool]
    ) -> IpBlock | None:
        """A block of ours from now on, the one with *address* if one is named; None where it is not needed.

        *is_needed* is asked when it is this one's turn.

        Raises:
            NoAddress: there is none to be had now; the message says why.
        """
        wanted = _Wanted(pool, version, address)
        with self._lock:
            if not is_needed():
                return None
            if self._clock() < self._retry_at:
                raise NoAddress(f"IPPool {wanted.pool.name}: no block can be claimed now: {self._why}")
            try:
                found = self._claimed(wanted)
            except Refused as error:
                raise self._failed(wanted, str(error), error.refusal.retry_after_s) from error
            except TROUBLE as error:
                raise self._failed(wanted, " ".join(str(error).split()), 0.0) from error
            self._failures = 0
            return found

    def release(self, block: IpBlock) -> None:
        """Give a block back, of which nobody has an address, nor will; one that is another by now stays.

        Raises:
            Refused, TROUBLE: it may be there still; it is not used any more.
        """
        self._leaving.add(block.uid)
        path = f"{PATH}/{block.name}"
        about: dict[str, Any] = {"uid": block.uid}
        if block.node != self._node:
            about["resourceVersion"] = block.revision
        content = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": about}
        try:
            self._client.send("DELETE", path, content, JSON, TIMEOUT_S)
        except Refused as error:
            if error.refusal.code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:  # gone, or another's
                raise
        log.info("block is given back", block=block.name, node=block.node, pool=block.pool)

    def is_answered(self, block: IpBlock) -> bool:
        """Whether the API server answers: a block must not be given up for one that would not hear of it."""
        try:
            self._listed(IP_BLOCK, PATH, (("labelSelector", f"{RANGE_LABEL}={range_label(block.cidr)}"),))
        except (Refused, *TROUBLE) as error:
            log.info("a block that nobody uses is kept", block=block.name, why=error)
            return False
        return True

    def has_pods(self, node: str) -> bool:
        """Whether the API server has a Pod of this node.

        Raises:
            Refused, TROUBLE: it does not say.
        """
        query = (("fieldSelector", f"spec.nodeName={node}"), ("limit", "1"))
        return bool(self._listed("Pod", "/api/v1/pods", query))

    def _claimed(self, wanted: _Wanted) -> IpBlock:
        cluster = self._cluster()
        for block in self._own(cluster.ip_blocks.values(), wanted, self._confirmed | self._leaving):
            if self._is_alone(block):
                return block
        there = {block.uid for block in cluster.ip_blocks.values()}
        self._unseen = {name: block for name, block in self._unseen.items() if block.uid not in there}
        for block in self._own(tuple(self._unseen.values()), wanted, self._leaving):
            if self._is_alone(block):
                return self._seen(block)
            del self._unseen[block.name]
        tried: dict[str, IpBlock] = dict(self._unseen)
        lost = taken(cluster, self._services).ranges.get(wanted.pool.name, ())
        for _ in range(ATTEMPTS):
            cidr = self._next(wanted, (*cluster.ip_blocks.values(), *tried.values()), lost)
            made = self._made(wanted.pool, cidr)
            if made is not None and self._is_alone(made):
                log.info("block is claimed", block=made.name, pool=wanted.pool.name)
                self._unseen[made.name] = made
                return self._seen(made)
            name = block_name(wanted.pool.network, cidr)
            tried[name] = IpBlock(name, cidr, node="another", network=wanted.pool.network)
        raise NoAddress(f"IPPool {wanted.pool.name}: {ATTEMPTS} blocks were claimed by other nodes first; try again")

    def _own(self, blocks: Iterable[IpBlock], wanted: _Wanted, without: Collection[str]) -> tuple[IpBlock, ...]:
        """Those of ours that serve, *without* these uids."""
        return tuple(
            block
            for block in blocks
            if (block.node, block.network, block.cidr.version) == (self._node, wanted.pool.network, wanted.version)
            and wanted.pool.has(block.cidr)
            and (wanted.address is None or wanted.address in block.cidr)
            and block.uid not in without
        )

    def _next(self, wanted: _Wanted, blocks: tuple[IpBlock, ...], lost: tuple[Network, ...]) -> Network:
        pool, address = wanted.pool, wanted.address
        if address is None:
            start = int.from_bytes(blake2s(self._node.encode(), digest_size=8).digest(), "big")
            cidr = next_block(pool, wanted.version, blocks, lost, start)
            if cidr is None:
                text = f"IPPool {pool.name} is used up: each of its IPv{wanted.version} blocks is a node's; widen it"
                raise NoAddress(text)
            return cidr
        cidr = block_of(pool, address)
        if cidr is None or any(overlap(cidr, one) for one in lost):
            raise NoAddress(f"{address} is not IPPool {pool.name}'s to give")
        for other in blocks:
            if other.network == pool.network and overlap(other.cidr, cidr) and other.uid not in self._leaving:
                raise NoAddress(f"{address} is of IPBlock {other.name}, which node {other.node} has")
        return cidr

    def _made(self, pool: IpPool, cidr: Network) -> IpBlock | None:
        """The block, made; None where it is somebody's already."""
        content = {
            "apiVersion": "sluiceway.io/v1alpha1",
            "kind": IP_BLOCK,
            "metadata": {"name": block_name(pool.network, cidr), "labels": {RANGE_LABEL: range_label(cidr)}},
            "spec": {"cidr": str(cidr), "pool": pool.name, "node": self._node, "network": pool.network},
        }
        try:
            answer = self._client.send("POST", PATH, content, JSON, TIMEOUT_S)
        except Refused as error:
            if error.refusal.code != HTTPStatus.CONFLICT:
                raise
            return None
        found = self._decoder.decode(IP_BLOCK_KIND, answer).value
        return found if isinstance(found, IpBlock) else None

    def _is_alone(self, block: IpBlock) -> bool:
        """Whether no other node has an address of it; else it is given back. Asked when the block is there."""
        query = (("labelSelector", f"{RANGE_LABEL}={range_label(block.cidr)}"),)
        decoded = (self._decoder.decode(IP_BLOCK_KIND, one).value for one in self._listed(IP_BLOCK, PATH, query))
        there = tuple(one for one in decoded if isinstance(one, IpBlock))
        if all(one.uid != block.uid for one in there):
            return False  # somebody has removed it meanwhile
        if any(one.clashes(block) and one.node != block.node for one in there):
            self.release(block)
            return False
        self._confirmed.add(block.uid)
        return True

    def _seen(self, block: IpBlock) -> IpBlock:
        """The block, once routes follow from it: the watch has brought it."""
        until = self._clock() + SEEN_S
        while self._clock() < until:
            seen = self._cluster().ip_blocks.get(block.name)
            if seen is not None and seen.uid == block.uid:
                return seen
            self._sleep(LOOK_S)
        raise NoAddress(f"IPPool {block.pool}: the watch has not brought IPBlock {block.name} yet; try again")

    def _listed(self, kind: str, path: str, query: tuple[tuple[str, str], ...]) -> list[msgspec.Raw]:
        """The newest list that there is: it is asked for without a revision."""
        response = self._client.get(path, query, TIMEOUT_S)
        body: bytes = response.read()
        if response.status != HTTPStatus.OK:
            raise Refused(f"GET {path}", refusal(response.status, body, response.headers.get("Retry-After", "")))
        found, refused = items_of(kind, body)
        if refused is not None:
            raise Refused(f"GET {path}", refused)
        return found

    def _failed(self, wanted: _Wanted, why: str, at_least_s: float) -> NoAddress:
        self._failures += 1
        wait_s = backoff_s(self._failures, self._draw(), at_least_s=at_least_s, longest_s=LONGEST_S)
        self._retry_at, self._why = self._clock() + wait_s, why
        log.warning("no block can be claimed; tried again", pool=wanted.pool.name, why=why)
        return NoAddress(f"IPPool {wanted.pool.name}: no block can be claimed now: {why}")


def range_label(cidr: Network) -> str:
    """The value of the label that all blocks have that could overlap this one."""
    around = ip_network((cidr.network_address, RANGE_LENGTHS[cidr.version]), strict=False)
    return around.network_address.exploded.replace(":", "-")
