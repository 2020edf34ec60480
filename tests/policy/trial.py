"""A random history of a world, tried on a node in miniature: whatever happens, its packets agree with the oracle.

Flows that have begun are sent again after each change, in both directions. Some changes happen while no agent runs, and
the next one begins with what the maps hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.bpf.datapath import Datapath
from tests.policy.facts import Flow, Judgement, World
from tests.policy.frames import Way
from tests.policy.judged import Judged
from tests.policy.oracle import verdict
from tests.policy.worlds import Options, between, change, flows, world

RESTARTS = 3  # of so many changes one is found by a new agent
KEPT = 60  # flows of a history that are sent again after each change


@dataclass(frozen=True, slots=True)
class Wrong:
    """A packet that the node and the oracle do not agree on."""

    seed: int
    step: int
    when: str
    way: Way
    passed: bool
    judgement: Judgement

    def __str__(self) -> str:
        said = f"egress: {self.judgement.egress.reason}; ingress: {self.judgement.ingress.reason}"
        done = "passed" if self.passed else "was dropped"
        return f"seed {self.seed}, step {self.step} ({self.when}): {self.way} {done}. {said}"


@dataclass
class Trial:
    """One history by its seed: a world and *changes* of it, with *count* new flows at each stage."""

    datapath: Datapath
    seed: int
    count: int = 60
    changes: int = 3
    options: Options = field(default_factory=Options)
    flows: int = 0  # that were begun, or tried to
    again: int = 0  # packets of flows that had begun before a change
    step: int = 0

    def wrong(self) -> Iterator[Wrong]:
        """Go through the history; yields what is wrong."""
        rng = Random(self.seed)  # noqa: S311  no secret
        there = world(rng, self.options)
        names = [node["metadata"]["name"] for node in there.nodes]
        node = Judged(self.datapath, names[self.seed % len(names)])
        numbers = Numbers(self.datapath)
        node.apply(there)
        begun: list[Way] = []
        yield from self._new_flows(node, there, rng, begun, "a world")
        for step in range(1, self.changes + 1):
            self.step = step
            changed = change(there, rng, self.options)
            if rng.randrange(RESTARTS):
                node.apply(changed.world)
            else:
                numbers.forget()
                yield from self._found_by_a_new_agent(node, there, changed.world, rng, begun)
            there = changed.world
            numbers.check()
            yield from self._flows_that_go_on(node, there, rng, begun, changed.what)
            yield from self._new_flows(node, there, rng, begun, changed.what)

    def _new_flows(self, node: Judged, there: World, rng: Random, begun: list[Way], when: str) -> Iterator[Wrong]:
        for flow in flows(there, rng, self.count, self.options):
            if not node.asks(flow):
                continue
            way = Way(flow, node.port(), opens=True)
            self.flows += 1
            yield from self._judged(node, there, way, when)
            if verdict(there, flow, here=node.name).allowed and len(begun) < KEPT:
                begun.append(way)
                for each in (Way(flow, way.sport, is_answer=True, opens=True), *both_ways(way, rng)):
                    yield from self._judged(node, there, each, f"{when}, a flow that is allowed")

    def _flows_that_go_on(
        self, node: Judged, there: World, rng: Random, begun: list[Way], when: str
    ) -> Iterator[Wrong]:
        begun[:] = [way for way in begun if node.asks(way.flow)]
        for way in begun:
            for each in both_ways(way, rng):
                self.again += 1
                yield from self._judged(node, there, each, f"{when}, a flow that had begun")

    def _found_by_a_new_agent(
        self, node: Judged, before: World, after: World, rng: Random, begun: list[Way]
    ) -> Iterator[Wrong]:
        """Until it knows the cluster all is as before, and pods that came since pass nothing."""
        held = set(node.here())
        node.restart()
        new = node.attach(after)
        kept = held & set(node.here()) - new
        ours = set(node.here()) | held
        fresh = [way for flow in flows(before, rng, self.count) if node.asks(flow) for way in (Way(flow, node.port()),)]
        for way in (*begun, *fresh):
            ends = {way.flow.source, way.flow.destination}
            if not node.asks(way.flow) or not (ends & ours) <= (kept | new):
                continue
            each = rng.choice(both_ways(way, rng)) if way in begun else way
            passed = node.carries(each)
            judgement = verdict(before, as_of(before, way.flow), here=node.name)
            if passed != (judgement.allowed and not ends & new):
                yield Wrong(self.seed, self.step, "a new agent that knows no cluster yet", each, passed, judgement)
        node.sync(after)

    def _judged(self, node: Judged, there: World, way: Way, when: str) -> Iterator[Wrong]:
        judgement = verdict(there, as_of(there, way.flow), here=node.name)
        passed = node.carries(way)
        if passed != judgement.allowed:
            yield Wrong(self.seed, self.step, when, way, passed, judgement)


def both_ways(way: Way, rng: Random) -> list[Way]:
    """Packets of a flow that has begun: each direction twice, so that the second may find a copy of the flow."""
    directions = [False, True]
    rng.shuffle(directions)
    return [Way(way.flow, way.sport, is_answer=answers) for answers in directions for _ in range(2)]


def as_of(there: World, flow: Flow) -> Flow:
    """The flow as it is in a world: nodes may have other addresses, and addresses other pods."""
    return between(there, flow.source, flow.destination, flow.protocol, flow.port)


class Numbers:
    """What numbers of classes, rule sets and policies have stood for; an agent gives none of them another meaning.

    One that begins does not know what was free before, and may give that.
    """

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._seen: dict[tuple[str, int], object] = {}

    def forget(self) -> None:
        """Forget what the maps do not hold: a new agent begins."""
        self._seen.clear()
        self.check()

    def check(self) -> None:
        """Look at the maps."""
        for name in ("peer_classes", "rule_sets", "policies"):
            for number, meaning in self._datapath.tables[name].items():
                known = self._seen.setdefault((name, number), meaning)
                assert known == meaning, f"{name} {number} stood for {known} and stands for {meaning}"
