"""The allocator of load balancers' addresses: one node brings the Services' status to what lb_pool.py says.

That node holds the Lease. It begins with lists of all Services and pools that are asked for once it has it, and are the
newest there are. From then on it knows what it writes before the watch says so, and what it may have written, where no
answer came, is nobody else's until the API server has said what became of it. It sends nothing when its Lease may end
before the answer.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Condition
from types import MappingProxyType
from typing import Any

from agent.ipam.lb_pool import Allocation, AllocatorUse, View, allocate, total
from agent.ipam.lb_status import (
    COUNT_MAX,
    MERGE,
    STRATEGIC,
    is_told,
    pool_patch,
    pool_path,
    service_patch,
    service_path,
)
from agent.kube.client import TROUBLE, Client, Refused
from agent.kube.leases import Election, seconds
from agent.kube.retry import backoff_s
from agent.log import logger
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.lb_pool import LbService, LoadBalancerPool, PoolStatus
from agent.model.name import ObjectName, Problem
from agent.threads import Threads
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kinds import ALLOCATED
from agent.watch.decode.lb_pool import LOAD_BALANCER_POOL
from agent.watch.decode.lb_service import LB_SERVICE, REQUEST_FIELDS

log = logger(__name__)

LEASE = "loadbalancer-pools"
WATCH = "load balancer addresses"  # as whose report the problems are in the Cluster
# another attempt changes nothing before the Service changes
_FINAL = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE})
OnProblem = Callable[[Problem, str], None]


@dataclass(slots=True)
class _Written:
    """What was sent for a Service, and is not known to be refused: it is the Service's."""

    given: tuple[Address, ...]
    before: str  # the revision that it rests on
    after: LbService | None = None  # as the API server answered; None: no answer came, or one that leaves it open
    also: tuple[Address, ...] = ()  # sent before on the same revision


class Allocator:
    """A thread that takes part in the election, and allocates while it is elected."""

    def __init__(  # noqa: PLR0913  whom it asks and tells
        self,
        client: Client,
        election: Election,
        threads: Threads,
        *,
        watch: Callable[[bool], None],
        report: Callable[[tuple[Problem, ...]], None],
        on_problem: OnProblem = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """*watch* begins or ends the watches of what is allocated; *report* gets all that is wrong, at each change.

        *on_problem* hears of each problem when it comes, with its Service's uid.
        """
        self._client, self._election = client, election
        self._watch, self._report, self._on_problem = watch, report, on_problem
        self._clock, self._wall = clock, wall
        self._decoder = Decoder("")
        self._wake = Condition()
        self._latest = Cluster()
        self._is_stopping = False
        self._is_elected = False  # and so the watches run
        self._term = 0
        self._is_fresh = False  # something is to be looked at
        self._written: dict[ObjectName, _Written] = {}
        self._refused: dict[ObjectName, tuple[str, float]] = {}  # a revision, and until when it is left alone
        self._failures = 0  # in a row
        self._retry_at = float("inf")
        self._told: tuple[Problem, ...] = ()
        self._events: frozenset[Problem] = frozenset()
        self.use = AllocatorUse()
        self._thread = threads.make("lb-allocator", self._run)

    def offer(self, cluster: Cluster) -> None:
        """Go by *cluster* from now on; returns at once."""
        with self._wake:
            before, self._latest = self._latest, cluster
            if any(getattr(before, name) is not getattr(cluster, name) for name in _READ):
                self._is_fresh = True
                self._wake.notify_all()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End; the Lease is given back, so that another node goes on at once."""
        with self._wake:
            self._is_stopping = True
            self._thread.end()
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_stopping:
            with self._thread.busy():
                try:
                    self.turn()
                # whatever it is: addresses that were given stay, and the next turn tries again
                except Exception as error:
                    log.exception("load balancer addresses cannot be allocated; tried again", why=error)
                    self._failed(0.0)
            self._sleep()
        if all(one.after for one in self._written.values()):  # else somebody might begin before it has been done
            self._election.release()

    def _sleep(self) -> None:
        with self._wake:
            until = min(self._election.wait_s, max(0.0, self._retry_at - self._clock()))
            if not self._is_stopping and not (self._is_fresh and self._is_elected):
                self._wake.wait(until)

    def turn(self) -> None:
        """Take part in the election; then allocate what is to be allocated, while elected."""
        self._election.step()
        is_leader = self._election.is_leader
        if self._is_elected and not (is_leader and self._election.term == self._term):
            self._deposed()
        if is_leader and not self._is_elected:
            self._elected()
        if not self._is_elected:
            return
        with self._wake:
            cluster = self._latest
            is_due = self._is_fresh or self._clock() >= self._retry_at
            self._is_fresh = False
        if is_due:
            self._retry_at = float("inf")
            if all(kind.name in cluster.listed for kind in ALLOCATED):
                self._allocate(cluster)

    def _elected(self) -> None:
        """Nothing is believed that was listed before."""
        log.info("this node allocates load balancer addresses")
        self._is_elected, self._term = True, self._election.term
        self._written, self._refused = {}, {}
        self._watch(True)  # noqa: FBT003  as the source has it

    def _deposed(self) -> None:
        log.info("another node allocates load balancer addresses")
        self._is_elected = False
        self._watch(False)  # noqa: FBT003  as the source has it
        self._tell((), {}, ())
        self.use = replace(self.use, is_leader=False, waiting=0, pools=MappingProxyType({}), problems=0)

    def _allocate(self, cluster: Cluster) -> None:
        services = self._known(cluster.lb_services)
        unsure = {name: one.given + one.also for name, one in self._written.items() if one.after is None}
        own = cluster.node_ips
        found = allocate(View(cluster.lb_pools, services, cluster.namespaces, unsure, own))
        self._tell(found.problems, services, _decoded(cluster.problems))
        for name, given in found.given.items():
            if not self._may_send():
                return
            self._write(services[name], given)
        self._write_pools(cluster.lb_pools, found)
        self.use = replace(
            self.use,
            is_leader=True,
            waiting=found.waiting,
            pools={name: (total(pool), found.used[name]) for name, pool in cluster.lb_pools.items()},
            problems=len(found.problems),
        )

    def _known(self, watched: Mapping[ObjectName, LbService]) -> Mapping[ObjectName, LbService]:
        """The Services, those that were written and have not come back yet as the API server has them."""
        services = dict(watched)
        for name, written in tuple(self._written.items()):
            seen = watched.get(name)
            newest = written.after.revision if written.after else written.before
            is_settled = seen is None or _is_newer(seen.revision, newest, or_same=written.after is not None)
            if is_settled:
                del self._written[name]
            elif written.after is not None:
                services[name] = written.after
        return services

    def _may_send(self) -> bool:
        """Whether it holds the Lease; it is renewed on the way, where there is much to write."""
        self._election.step()
        return self._election.is_leader and self._election.term == self._term and not self._is_stopping

    def _write(self, service: LbService, given: tuple[Address, ...]) -> None:
        revision, until = self._refused.get(service.name, ("", 0.0))
        is_refused = revision == service.revision and self._clock() < until
        if is_told(service, given) or (not given and not service.held and not service.is_ours) or is_refused:
            return
        earlier = self._written.get(service.name)
        also = earlier.given + earlier.also if earlier and earlier.after is None else ()
        self._written[service.name] = _Written(given, service.revision, also=also)
        stamp = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            answer = self._send(service_path(service), service_patch(service, given, stamp), STRATEGIC)
        except Refused as error:
            self._not_written(service, error)
        except TROUBLE as error:
            log.warning("a Service's addresses may not be written; tried again", service=service.name, why=error)
            self._failed(0.0)
        else:
            self._done(service, given, answer)

    def _done(self, service: LbService, given: tuple[Address, ...], answer: bytes) -> None:
        after = self._decoder.decode(LB_SERVICE, answer).value
        self._written[service.name].after = after if isinstance(after, LbService) else None
        self._failures = 0
        self.use = replace(self.use, writes=self.use.writes + 1)
        addresses = ", ".join(map(str, given)) or "none"
        log.info("a Service's load balancer addresses", service=service.name, addresses=addresses)

    def _not_written(self, service: LbService, error: Refused) -> None:
        """The API server says that it was not done; one that changed meanwhile comes by the watch."""
        code = error.refusal.code
        # 5xx may be the answer to what was done, and any other to an attempt after one that was done
        if code < HTTPStatus.INTERNAL_SERVER_ERROR and not self._written[service.name].also:
            del self._written[service.name]
        if code not in _FINAL:
            log.warning("a Service's addresses are refused; tried again", service=service.name, why=error)
            self._failed(error.refusal.retry_after_s)
            self._refused[service.name] = (service.revision, self._retry_at)
        else:
            self._refused[service.name] = (service.revision, self._clock() + self._election.timing.lease_s)
            self._retry_at = min(self._retry_at, self._clock() + self._election.timing.lease_s)

    def _failed(self, at_least_s: float) -> None:
        self._failures += 1
        self.use = replace(self.use, failures=self.use.failures + 1)
        self._retry_at = min(self._retry_at, self._clock() + backoff_s(self._failures, 0.5, at_least_s=at_least_s))

    def _write_pools(self, pools: Mapping[str, LoadBalancerPool], found: Allocation) -> None:
        for name, pool in pools.items():
            status = PoolStatus(min(total(pool), COUNT_MAX), found.used[name], found.conflicts[name])
            if pool.status == status or not self._may_send():
                continue
            try:
                self._send(pool_path(pool), pool_patch(status), MERGE)
            except (Refused, *TROUBLE) as error:
                log.warning("a LoadBalancerPool's status cannot be written; tried again", pool=name, why=error)
                self._failed(0.0)

    def _send(self, path: str, patch: Mapping[str, Any], content_type: str) -> bytes:
        limit_s = self._election.timing.request_s  # for the API server too, which ends what takes longer
        return self._client.send("PATCH", f"{path}?timeout={seconds(limit_s)}", patch, content_type, limit_s)

    def _tell(
        self, found: tuple[Problem, ...], services: Mapping[ObjectName, LbService], decoded: tuple[Problem, ...]
    ) -> None:
        """Report what is *found*; of this and of what was *decoded*, whoever is new gets an Event."""
        told = frozenset((*found, *decoded))
        for one in sorted(told - self._events):
            service = services.get(one.name)
            self._on_problem(one, service.uid if service else "")
        self._events = told
        if found != self._told:
            self._told = found
            self._report(found)


def _decoded(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Those of pools, and of what Services ask for, which are the allocator's to tell."""
    return tuple(
        one
        for one in problems
        if one.kind == LOAD_BALANCER_POOL.name or (one.kind == "Service" and one.field in REQUEST_FIELDS)
    )


_READ = ("lb_services", "lb_pools", "namespaces", "nodes", "listed")  # of the Cluster; a change of the rest is no news


def _is_newer(seen: str, known: str, *, or_same: bool) -> bool:
    """Whether the watch has come as far; revisions are numbers (KEP-5504), others are newer if they differ."""
    if seen.isdecimal() and known.isdecimal():
        return int(seen) > int(known) or (or_same and int(seen) == int(known))
    return seen != known or or_same
