"""What maps have no names for, in a file that outlives the agent: `dpctl policy` and `dpctl drops` read it.

The maps alone say who may speak to whom; the file has the words of policies and peers, and whose an address is. It is
made by the thread that reports, not by the one that writes maps, and of each of its sections only what differs.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.compile.desired import Desired
from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.policy import PeerPod
from agent.serve import report_file
from agent.serve.policy_words import AtomWords, PolicyWords, SetWords, policy_words

log = logger(__name__)

FILE = "policy.json"  # in --run-dir
LEAST_S = 1.0  # between two writes
SHARE = 50  # it takes one part of so many of the thread's time at most, whatever there is to write


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod's addresses, or an interface's; of one of this node also its slot, and which attachment had that."""

    addresses: tuple[str, ...] = ()
    slot: int = 0
    endpoint_id: int = 0
    is_ending: bool = False  # another pod may have its addresses already
    is_vf: bool = False  # no device of the node's knows the addresses
    network: str = ""  # the definition of a network of its own, on which they are


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What the file holds; who reads it may be of another build, so that any part may be missing."""

    pin_root: str = ""  # the agent's
    at_s: float = 0.0  # when it was written, seconds of the epoch
    node: str = ""  # this one's name
    policies: Mapping[str, PolicyWords] = field(default_factory=dict)  # by kind and name, as the map has it
    atoms: tuple[AtomWords, ...] = ()
    sets: Mapping[str, SetWords] = field(default_factory=dict)  # by digest
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by digest: indices of atoms
    pods: Mapping[str, PodName] = field(default_factory=dict)  # by namespace/name, of another interface that/interface
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # addresses by name


class PolicyReporter:
    """Writes the file when there is something new, and not too often."""

    def __init__(self, run_dir: Path, pin_root: Path, clock: Callable[[], float] = time.time) -> None:
        self._run_dir, self._pin_root, self._clock = run_dir, str(pin_root), clock
        self._sections = _Sections()
        self._wait_until_s = self._at_s = 0.0
        self._is_unwritten = False  # what was made last

    def report(self, desired: Desired, *, now: bool = False) -> None:
        """Write what *desired* has to the file: at once if *now*, else as soon as the last write is long enough ago.

        Called again and again; before the first sync it leaves what an earlier agent wrote. A file that cannot be
        written is logged, and tried again.
        """
        at_s = self._clock()
        is_early = self._at_s <= at_s < self._wait_until_s
        if not desired.synced or (is_early and not now):
            return
        if not self._sections.take(desired) and not self._is_unwritten:
            return
        content = self._sections.content(self._pin_root, at_s)
        try:
            report_file.write(self._run_dir, FILE, content)
            self._is_unwritten = False
        except OSError as error:
            self._is_unwritten = True
            log.warning("names cannot be written; dpctl policy shows older ones, or numbers", why=error)
        self._at_s = at_s
        self._wait_until_s = at_s + max(LEAST_S, SHARE * (self._clock() - at_s))


class _Sections:
    """The file's parts as JSON, each with what it was made of."""

    def __init__(self) -> None:
        self._node = ""
        self._of: dict[str, tuple[object, ...]] = {}
        self._words = dict.fromkeys(("policies", "atoms", "sets", "classes"), b"")
        self._peers: dict[object, tuple[object, bytes]] = {}  # by name: what a pod's line was made of, and the line
        self._pods = self._nodes = b""

    def take(self, desired: Desired) -> bool:
        """Bring them up to date; whether anything differs."""
        policies, source = desired.policies, desired.source
        self._node = desired.context.name
        old = (*self._words.values(), self._pods, self._nodes)
        if self._differs("words", policies.sets, policies.peers.atoms, policies.digests):
            made = policy_words(policies)
            self._words = {name: msgspec.json.encode(getattr(made, name)) for name in self._words}
        if self._differs("pods", source.peers, desired.attachments):
            self._pods = _joined(self._pod_lines(source.peers.items(), desired.attachments.values()))
        if self._differs("nodes", source.nodes, desired.context):
            own = desired.context.addresses
            nodes = {one.name: (*one.internal_ips, *one.external_ips) for one in source.nodes.values()}
            nodes[self._node] = tuple(sorted({*nodes.get(self._node, ()), *own}, key=lambda a: (a.version, a)))
            self._nodes = msgspec.json.encode({name: [*map(str, found)] for name, found in nodes.items()})
        return old != (*self._words.values(), self._pods, self._nodes)

    def content(self, pin_root: str, at_s: float) -> bytes:
        """The file."""
        head = {"pin_root": pin_root, "at_s": at_s, "node": self._node}
        parts = {**self._words, "pods": self._pods, "nodes": self._nodes}
        return msgspec.json.encode(head | {name: msgspec.Raw(part) for name, part in parts.items()})

    def _differs(self, section: str, *made_of: object) -> bool:
        known = self._of.get(section, ())
        if len(known) == len(made_of) and all(old is new for old, new in zip(known, made_of, strict=True)):
            return False
        self._of[section] = made_of
        return True

    def _pod_lines(self, peers: Iterable[tuple[object, PeerPod]], attachments: Iterable[Attachment]) -> Iterator[bytes]:
        known, self._peers = self._peers, {}
        here = set()
        for one in attachments:
            if one.pod is None:
                continue
            if one.is_first:
                here.add(one.pod)
            yield _line(one.pod if one.is_first else f"{one.pod}/{one.interface}", _name(one))
        for name, pod in peers:
            if name in here:
                continue
            found = known.get(name)
            if found is None or found[0] is not pod:
                found = pod, _line(name, PodName(tuple(map(str, pod.ips)), is_ending=pod.is_ending))
            self._peers[name] = found
            yield found[1]


def _name(one: Attachment) -> PodName:
    return PodName(
        tuple(map(str, one.addresses)),
        one.slot,
        one.endpoint_id,
        is_vf=one.is_in_pod,
        network=str(one.network) if one.is_apart else "",
    )


def _line(name: object, pod: PodName) -> bytes:
    return msgspec.json.encode(str(name)) + b":" + msgspec.json.encode(pod)


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"{" + b",\n".join(lines) + b"}"


def read(run_dir: Path) -> PolicyReport | None:
    """What an agent wrote last; None where there is nothing that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, PolicyReport)
