"""The thread that keeps this node among those that announce: its lease, the others', and what the programs answer by.

Each node renews a Lease of its own; who answers for an address follows from the nodes that are live, alike on each
(compile/announce.py). The programs have the last word: they answer by themselves while the lease is fresh, and
without one until somebody else on the subnet says that the address is theirs. So nothing moves where the API server is
away for all, for nobody can take over; and where it is away for this node alone, whoever takes over is heard.
"""

import socket
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from threading import Event

import msgspec

from agent.announce.frames import claims, probe
from agent.announce.groups import Groups
from agent.announce.liveness import PERIOD_S, TAKE_S, Holding, Liveness
from agent.compile.announce import Announcement
from agent.json_text import NOT_JSON
from agent.kube.client import TROUBLE, Client, Refused
from agent.kube.leases import Lease, Leases, stamp
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.threads import Threads
from maps import abi
from maps.table import TableLike

log = logger(__name__)

LABEL, VALUE = "sluiceway.io/lease", "announce"
REQUEST_S = 1.0  # a renewal that takes longer comes too late
BACKSTOP_S = 10.0  # an agent that is silent for so long asks nobody, so that the programs stop
REPEATS = 6  # of a claim, PERIOD_S apart: neighbours ignore what comes within a second of what they heard before
FOREVER_NS = (1 << 64) - 1
NS = 10**9

Send = Callable[[str, bytes], None]


def lease_name(node: str) -> str:
    """The name of a node's Lease."""
    return f"{VALUE}-{node}"


class Announcer:
    """This node among those that announce."""

    def __init__(  # noqa: PLR0913  whom it asks and tells
        self,
        client: Client,
        node: str,
        table: TableLike[int, abi.Announcing],
        threads: Threads,
        *,
        on_live: Callable[[frozenset[str]], None],
        report: Callable[[tuple[Problem, ...]], None] = lambda _: None,
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        wall: Callable[[], float] = time.time,
        send: Send | None = None,
    ) -> None:
        """*on_live* hears of the nodes that announce, when they change; *clock* is the programs' CLOCK_BOOTTIME."""
        self._client, self._node, self._table = client, node, table
        self._leases = Leases(client, REQUEST_S)
        self._on_live, self._report = on_live, report
        self._clock, self._wall, self._send = clock, wall, send or _send
        self._liveness, self._holding = Liveness(), Holding()
        self._lease: Lease | None = None
        self._live: frozenset[str] = frozenset()
        self._others = True  # there may be some: nobody has looked
        self._was_fresh = False
        self._trouble = ""
        self._announced: frozenset[Announcement] = frozenset()
        self._wanted: frozenset[Announcement] = frozenset()
        self._left: dict[Announcement, int] = {}  # claims still to be sent
        self._groups = Groups()
        self._stopping = Event()
        self._thread = threads.make("announcer", self._run)

    @property
    def live(self) -> frozenset[str]:
        """The nodes that announce, as this one sees them."""
        return self._live

    @property
    def is_fresh(self) -> bool:
        """Whether this node's lease keeps all others from taking over."""
        return self._was_fresh

    @property
    def announced(self) -> int:
        """How many addresses this node announces, each on each device."""
        return len(self._wanted)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.5) -> None:
        """End; the lease ends by itself, unless another agent comes before."""
        self._thread.end()
        self._stopping.set()
        self._thread.join(timeout_s)

    def announce(self, wanted: frozenset[Announcement]) -> None:
        """Say of these that they are here, now that the programs answer for them; from any thread."""
        self._wanted = wanted

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._thread.busy():
                try:
                    self.turn()
                except Exception as error:  # whatever it is, the programs go on for a while
                    log.exception("announcing is not as it should be; tried again", why=error)
            self._stopping.wait(self._wait_s())

    def _wait_s(self) -> float:
        return min(PERIOD_S, max(0.02, self._liveness.due_s(self._node) - self._clock()))

    def turn(self) -> None:
        """Renew, look at the others, and have the programs and the subnet know."""
        renewing = self._attempt(self._renew)
        self._write()  # before the others are asked for, which may take a while
        looking = self._attempt(self._look)
        self._write()
        self._tell("; ".join(dict.fromkeys(filter(None, (renewing, looking)))))
        self._speak()

    def _attempt(self, ask: Callable[[], None]) -> str:
        try:
            ask()
        except Refused as error:
            if error.refusal.code == HTTPStatus.CONFLICT:
                self._lease = None  # somebody changed it: it is read anew
                return ""
            return str(error)
        except (*TROUBLE, *NOT_JSON) as error:
            return " ".join(str(error).split())
        return ""

    def _renew(self) -> None:
        began = self._clock()
        name = lease_name(self._node)
        held = self._lease or self._leases.get(name) or Lease(name)
        metadata = {} if held.revision else {"labels": {LABEL: VALUE}, "ownerReferences": self._owners()}
        now = stamp(self._wall())
        mine = Lease(name, self._node, TAKE_S, held.acquired or now, now, held.transitions, held.revision, held.content)
        began = self._clock() if not self._lease else began
        self._lease = self._leases.put(mine, metadata=metadata)
        self._holding.renewed(began, self._clock())

    def _owners(self) -> list[Mapping[str, str]]:
        """The Node, with which the Lease goes; where it cannot be read, the Lease stays."""
        try:
            found = self._client.send("GET", f"/api/v1/nodes/{self._node}", None, "", REQUEST_S)
            uid = msgspec.json.decode(found)["metadata"]["uid"]
        except (Refused, *TROUBLE, *NOT_JSON, LookupError, TypeError) as error:
            log.warning("this Node cannot be read, and its lease stays when it goes", why=error)
            return []
        return [{"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": uid}]

    def _look(self) -> None:
        began = self._clock()
        leases = self._leases.list(f"{LABEL}={VALUE}")
        self._holding.looked(began)
        live = self._liveness.look(leases, began, self._clock()) - {self._node}
        self._others = bool(live)
        if self._holding.fresh_until_s(self._clock()) is not None or self._node in self._live:
            live |= {
                self._node
            }  # once it has joined it stays, and the programs know what to make of a lease that ended
        if live != self._live:
            log.info("nodes that announce", nodes=", ".join(sorted(live)))
            self._live = live
            self._on_live(live)

    def _write(self) -> None:
        """Until when the programs answer."""
        now = self._clock()
        until = self._holding.fresh_until_s(now)
        # what was heard counts from when the lease was last fresh: so a time that has passed stays
        fresh = int(until * NS) if until is not None else self._fresh_ns()
        stop = int((now + BACKSTOP_S) * NS) if self._others else FOREVER_NS
        self._table.update([(0, abi.Announcing(fresh, stop))])
        is_fresh = until is not None
        if is_fresh and not self._was_fresh:
            self._left |= dict.fromkeys(self._wanted, REPEATS)  # some may have been another's meanwhile
        self._was_fresh = is_fresh

    def _fresh_ns(self) -> int:
        found = self._table.get(0)
        return found.fresh_until_ns if found else 0

    def _tell(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        if trouble:
            log.warning("the lease to announce by is not renewed; tried again", why=trouble)
        self._trouble = trouble
        self._report((self._problem(trouble),) if trouble else ())

    def _problem(self, trouble: str) -> Problem:
        text = f"leases cannot be renewed or read, so that others may announce what is announced here: {trouble}"
        return Problem("Node", ObjectName("", self._node), "--l2-announce", text)

    def _speak(self) -> None:
        """Claim what is new here; without a fresh lease ask who else has what this node answers for."""
        wanted = self._wanted
        if wanted is not self._announced:
            self._left = {one: left for one, left in self._left.items() if one in wanted}
            self._left |= dict.fromkeys(wanted - self._announced, REPEATS)
            self._announced = wanted
        self._groups.hold(wanted)
        if not self._was_fresh:
            for one in wanted:
                self._send(one.device, probe(one.address, one.mac))
            return
        for one in tuple(self._left):
            for frame in claims(one.address, one.mac):
                self._send(one.device, frame)
            self._left[one] -= 1
            if not self._left[one]:
                del self._left[one]


def _send(device: str, frame: bytes) -> None:
    """By a device of this namespace; one that left is told of by netlink."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.sendto(frame, (device, 0))
    except OSError as error:
        log.info("a claim of an address was not sent; it is repeated", device=device, why=error)
