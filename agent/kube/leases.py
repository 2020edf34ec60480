"""Leases of coordination.k8s.io: read, and written with optimistic concurrency; and by them the election of one.

No two machines' clocks are compared. When another's lease was renewed is when this process saw it change, by its own
clock; what it says of times is for people.

Source: Kubernetes API reference, Lease v1; client-go's tools/leaderelection.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

from agent.json_text import NOT_JSON
from agent.kube.answers import items_of, refused_as
from agent.kube.client import TROUBLE, Client, Refused
from agent.log import logger

log = logger(__name__)

NAMESPACE = "sluiceway"  # of all our Leases: who may write these may write no other's
_JSON = "application/json"
_ATTEMPTS = 3  # to change what others change at the time
RELEASED_S = 1.0  # the duration of a Lease that nobody holds, as client-go's ReleaseOnCancel writes it


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it was read; *content* is the whole object, of which an update changes its own fields alone."""

    name: str
    holder: str = ""
    duration_s: float = 0.0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    revision: str = ""  # metadata.resourceVersion: an update of another is refused
    content: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), compare=False, hash=False)


class _LeaseMetadata(msgspec.Struct, rename="camel", frozen=True):
    name: str = ""
    resource_version: str = ""


class _LeaseSpec(msgspec.Struct, rename="camel", frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, frozen=True):
    metadata: _LeaseMetadata = _LeaseMetadata()
    spec: _LeaseSpec = _LeaseSpec()


class Leases:
    """The Leases of our namespace."""

    def __init__(self, client: Client, timeout_s: float, namespace: str = NAMESPACE) -> None:
        """*timeout_s* is the longest that a request may take, for the API server too."""
        self._client = client
        self._timeout_s = timeout_s
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace

    def get(self, name: str) -> Lease | None:
        """The Lease as it is; None: there is none.

        Raises:
            Refused, TROUBLE: it cannot be read.
        """
        try:
            return self._one("GET", f"/{name}")
        except Refused as error:
            if error.refusal.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list(self, label: str) -> tuple[Lease, ...]:
        """All of them that have a label, as they are. Raises as :meth:`get`."""
        found, refused = items_of("Lease", self._ask("GET", "", query=f"&labelSelector={label}"))
        if refused is not None:
            raise Refused(f"GET {self._path}", refused)
        return tuple(_lease(bytes(item)) for item in found)

    def put(self, lease: Lease, *, metadata: Mapping[str, Any] = MappingProxyType({})) -> Lease:
        """Make it, or change the one that was read, if nobody has since; *metadata* is a new one's further.

        Raises:
            Refused: somebody has (409), or it may not be.
            TROUBLE: there is no answer, and it may have been done.
        """
        content = _content(lease, self._namespace, metadata)
        if lease.revision:
            return self._one("PUT", f"/{lease.name}", content)
        return self._one("POST", "", content)

    def _one(self, method: str, path: str, content: object = None) -> Lease:
        """The Lease that is answered with; another answer, a proxy's, says nothing of what was done."""
        answer = self._ask(method, path, content)
        if refused := refused_as("Lease", answer):
            raise Refused(f"{method} {self._path}{path}", refused)
        return _lease(answer)

    def _ask(self, method: str, path: str, content: object = None, query: str = "") -> bytes:
        where = f"{self._path}{path}?timeout={seconds(self._timeout_s)}{query}"
        return self._client.send(method, where, content, _JSON if content is not None else "", self._timeout_s)


def _lease(content: bytes) -> Lease:
    found = msgspec.json.decode(content, type=_Lease)
    spec = found.spec
    return Lease(
        found.metadata.name,
        spec.holder_identity or "",
        float(spec.lease_duration_seconds or 0),
        spec.acquire_time or "",
        spec.renew_time or "",
        spec.lease_transitions or 0,
        found.metadata.resource_version,
        msgspec.json.decode(content),
    )


def _content(lease: Lease, namespace: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    old = dict(lease.content) or {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    about = {"namespace": namespace, "name": lease.name, **metadata, **old.get("metadata", {})}
    if lease.revision:
        about["resourceVersion"] = lease.revision
    spec = {
        **old.get("spec", {}),
        "holderIdentity": lease.holder,
        "leaseDurationSeconds": max(1, round(lease.duration_s)),
        "acquireTime": lease.acquired or None,
        "renewTime": lease.renewed or None,
        "leaseTransitions": lease.transitions,
    }
    return {**old, "metadata": about, "spec": spec}


def identity(node: str) -> str:
    """A candidate's on a node: of this process alone, so that a new one waits for what an earlier one has sent."""
    return f"{node}_{uuid.uuid4()}"


def is_of(holder: str, node: str) -> bool:
    """Whether it is an :func:`identity` on that node."""
    return holder.rpartition("_")[0] == node


def give_back(leases: Leases, name: str, is_own: Callable[[str], bool]) -> bool:
    """Let others have at once a Lease whose holder was of this node, and has ended; whether it had one.

    Nobody else's is touched: what has changed since it was read is read again.

    Raises:
        Refused, TROUBLE: it cannot be, and ends by itself.
    """
    for _ in range(_ATTEMPTS):
        held = leases.get(name)
        if held is None or not is_own(held.holder):
            return False
        try:
            leases.put(replace(held, holder="", duration_s=RELEASED_S, renewed=stamp(time.time())))
        except Refused as error:
            if error.refusal.code != HTTPStatus.CONFLICT:
                raise
        else:
            return True
    return False


def seconds(limit_s: float) -> str:
    """The ``timeout`` by which an API server ends a request of its own accord (Go's ParseDuration)."""
    return f"{max(1, round(limit_s))}s"


def stamp(wall_s: float) -> str:
    """A time as Leases have it (MicroTime)."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a lease holds, how long its holder acts after a renewal, and the pause between attempts; seconds.

    Between *renew_s* and *lease_s* fits the longest request: what the holder sent last has been done, or never will be,
    before anybody else begins.
    """

    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0
    request_s: float = 3.0

    def __post_init__(self) -> None:
        """Refuse times that do not keep two holders apart."""
        if not self.renew_s + self.request_s < self.lease_s:
            raise ValueError(f"{self}: a request of the last holder's may outlast its lease")


class Election:
    """One candidate for a Lease; for one thread, but :attr:`is_leader` for any."""

    def __init__(  # noqa: PLR0913  what tells time is given
        self,
        leases: Leases,
        name: str,
        identity: str,
        timing: Timing | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """*identity* is of :func:`identity`."""
        self._leases, self._name, self._identity = leases, name, identity
        self.timing = timing or Timing()
        self._clock, self._wall = clock, wall
        self._seen: Lease | None = None
        self._seen_at = 0.0  # of the clock, when it was first seen as it is
        self._until = float("-inf")  # of the clock: leader before it
        self._due = float("-inf")
        self.trouble = ""  # why the last attempt failed; empty while all is well
        self.term = 0  # another number whenever somebody else may have had it in between

    @property
    def is_leader(self) -> bool:
        """Whether this process may act now."""
        return self._clock() < self._until

    @property
    def wait_s(self) -> float:
        """How long until :meth:`step` has something to do."""
        return max(0.0, self._due - self._clock())

    def step(self) -> None:
        """Try to get or renew it, where it is time."""
        began = self._clock()
        if began < self._due:
            return
        self._due = began + self.timing.retry_s
        try:
            self._try(began)
            self.trouble = ""
        except Refused as error:
            if error.refusal.code == HTTPStatus.CONFLICT:  # somebody was quicker: what it is now is read next time
                return
            self._failed(str(error))
            self._due = max(self._due, began + error.refusal.retry_after_s)
        except (*TROUBLE, *NOT_JSON) as error:
            self._failed(" ".join(str(error).split()))

    def release(self) -> None:
        """Let others have it at once; what this process asked for must have been answered."""
        held, is_held = self._seen, self.is_leader
        self._until = float("-inf")
        if held is None or not is_held or held.holder != self._identity:
            return
        try:
            self._leases.put(self._changed(held, ""))
        except (Refused, *TROUBLE, *NOT_JSON) as error:
            log.info("lease is not given back; it ends by itself", lease=self._name, why=error)

    def _failed(self, why: str) -> None:
        if why != self.trouble:
            log.warning("lease cannot be renewed; tried again", lease=self._name, why=why)
        self.trouble = why

    def _try(self, began: float) -> None:
        lease = self._leases.get(self._name)
        if lease is None:
            lease = Lease(self._name)
        elif self._seen is None or self._seen != lease:
            self._seen, self._seen_at = lease, self._clock()
        if self._is_anothers(lease):
            self._until = float("-inf")
            return
        is_mine = lease == self._seen and lease.holder == self._identity and self.term > 0
        self._seen = self._leases.put(self._changed(lease, self._identity))
        self.term += 0 if is_mine else 1
        self._seen_at = self._clock()
        # from before it was asked for: the API server may have noted it as early
        self._until = began + self.timing.renew_s

    def _is_anothers(self, lease: Lease) -> bool:
        is_held = bool(lease.holder) and lease.holder != self._identity
        return is_held and self._clock() < self._seen_at + lease.duration_s

    def _changed(self, lease: Lease, holder: str) -> Lease:
        now = stamp(self._wall())
        is_new = lease.holder != self._identity
        return Lease(
            lease.name,
            holder,
            self.timing.lease_s if holder else RELEASED_S,
            now if is_new else lease.acquired,
            now,
            lease.transitions + (1 if is_new and lease.revision else 0),
            lease.revision,
            lease.content,
        )
