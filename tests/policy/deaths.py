"""What packets meet while an agent writes a change, record by record, and when it dies at one of them.

Each end of a flow is judged by the rules of before or by those of after: what both deny is never let pass, what both
accept is never dropped. Two ends may be at different ones: what moves a denial to the other end is several writes.
An agent that begins may let nothing pass of pods whose rules have changed while none ran, until it has written theirs.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Self

from tests.bpf.datapath import Datapath
from tests.policy.facts import Address, Judgement, World
from tests.policy.frames import Way
from tests.policy.judged import Judged
from tests.policy.oracle import verdict
from tests.policy.trial import as_of, both_ways
from tests.policy.worlds import change, flows, world


class Killed(BaseException):
    """The agent's end."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A packet that neither world explains, or both contradict."""

    seed: int
    write: int
    what: str
    when: str
    way: Way
    passed: bool
    before: Judgement
    after: Judgement

    def __str__(self) -> str:
        done = "passed" if self.passed else "was dropped"
        return (
            f"seed {self.seed}, before write {self.write} of '{self.what}' ({self.when}): {self.way} {done};"
            f" before: {_said(self.before)}; after: {_said(self.after)}"
        )


def _said(judgement: Judgement) -> str:
    return f"egress {judgement.egress}, ingress {judgement.ingress}"


@dataclass
class Crossing:
    """A change from one world to another, with flows that begin on the way and such as had begun."""

    datapath: Datapath
    seed: int
    before: World
    after: World
    what: str
    name: str  # the node's
    count: int = 40
    asked: int = 0
    writes: int = 0  # that the change took
    rng: Random = field(init=False)
    _had: set[Address] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Its own draws."""
        self.rng = Random(self.seed)  # noqa: S311  no secret

    @classmethod
    def drawn(cls, datapath: Datapath, seed: int, changes: int = 1) -> Self:
        """Random worlds; so many changes lie between them."""
        rng = Random(seed)  # noqa: S311  no secret
        before = world(rng)
        after, what = before, list[str]()
        for _ in range(changes):
            made = change(after, rng)
            after = made.world
            what.append(made.what)
        names = [one["metadata"]["name"] for one in before.nodes]
        return cls(datapath, seed, before, after, ", ".join(what), names[seed % len(names)])

    def watched(self) -> list[Leak]:
        """Ask before each write, and after the last."""
        node, begun = self._begun()
        probe = self._probe(node, begun, node.attach(self.after))
        found: list[Leak] = []
        self.writes = 0

        def ask() -> None:
            found.extend(probe(self.writes, "it goes on"))
            self.writes += 1

        node.on_write = ask
        node.sync(self.after)
        node.on_write = None
        found.extend(probe(self.writes, "it is done"))
        return found

    def killed(self, at: int, *, every: int = 1) -> list[Leak]:
        """Have the agent die before a write, and another one begin; ask before *every* so many writes of that one."""
        node, begun = self._begun()
        probe = self._probe(node, begun, node.attach(self.after))
        writes = count()

        def die() -> None:
            if next(writes) == at:
                raise Killed

        node.on_write = die
        with suppress(Killed):
            node.sync(self.after)
        node.on_write = None
        found = [*probe(at, "the agent is dead")]
        node.restart()
        node.rounds.serve(())
        found += probe(at, "a new agent knows nothing yet")
        again = count()

        def ask() -> None:
            write = next(again)
            if not write % every:
                found.extend(one for one in probe(at, f"a new agent, before its write {write}") if one.passed)

        node.on_write = ask
        node.sync(self.after)
        node.on_write = None
        return [*found, *self._ended(node, begun, at)]

    def _begun(self) -> tuple[Judged, list[Way]]:
        """The node in the world before, with flows that have begun."""
        node = Judged(self.datapath, self.name)
        node.apply(self.before)
        found = []
        for flow in flows(self.before, self.rng, self.count):
            if not node.asks(flow) or not verdict(self.before, flow, here=node.name).allowed:
                continue
            way = Way(flow, node.port(), opens=True)
            for each in (way, *both_ways(way, self.rng)):
                node.carries(each)
            found.append(way)
        self._had = set(node.here())
        return node, found

    def _probe(self, node: Judged, begun: list[Way], new: set[Address]) -> Callable[[int, str], Iterator[Leak]]:
        """What asks about all flows but those of pods that have left; *new* ones' rules are those of after."""
        left = self._had - set(node.here())
        fresh = [
            Way(flow, 0, opens=True) for at in (self.before, self.after) for flow in flows(at, self.rng, self.count)
        ]
        asked: list[tuple[Way, bool, Judgement, Judgement]] = []
        for way in (*begun, *fresh):
            ends = {way.flow.source, way.flow.destination}
            if node.asks(way.flow) and not ends & left:
                was = verdict(self.before, as_of(self.before, way.flow), here=self.name)
                is_now = verdict(self.after, as_of(self.after, way.flow), here=self.name)
                asked.append((way, bool(ends & new), was, is_now))

        def probe(write: int, when: str) -> Iterator[Leak]:
            for way, is_new, before, after in asked:
                each = replace(way, sport=node.port()) if not way.sport else self.rng.choice(both_ways(way, self.rng))
                self.asked += 1
                passed = node.carries(each)
                if _is_wrong(before, after, passed=passed, is_new=is_new):
                    yield Leak(self.seed, write, self.what, when, each, passed, before, after)

        return probe

    def _ended(self, node: Judged, begun: list[Way], at: int) -> Iterator[Leak]:
        """What is not as it is after the change."""
        fresh = [Way(flow, node.port(), opens=True) for flow in flows(self.after, self.rng, self.count)]
        for way in (*begun, *fresh):
            if not node.asks(way.flow):
                continue
            for each in [way] if way in fresh else both_ways(way, self.rng):
                self.asked += 1
                passed = node.carries(each)
                judged = verdict(self.after, as_of(self.after, way.flow), here=self.name)
                if passed != judged.allowed:
                    yield Leak(self.seed, at, self.what, "a new agent is done", each, passed, judged, judged)


def _is_wrong(before: Judgement, after: Judgement, *, passed: bool, is_new: bool) -> bool:
    """Whether neither world lets an end of the flow do what it did; of a new pod nobody has said yet what it may."""
    if is_new:
        return passed and not after.allowed
    if not passed:
        return before.allowed and after.allowed
    egress = before.egress.allowed or after.egress.allowed
    return not (egress and (before.ingress.allowed or after.ingress.allowed))
