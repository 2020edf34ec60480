"""The allocator dies, hangs or is not heard at any request: no address is two Services', and none is lost."""

import itertools
import json
from itertools import combinations
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.ipam.lb_pool import may_share
from agent.model.lb_pool import LbService
from agent.watch.decode.lb_service import LB_SERVICE
from tests.agent.ipam.lb_world import DECODER, FIRST, SECOND, Killed, Process, World, pool, service


def life(world: World, nth: int, fault: str) -> int:
    """Addresses are given out, back and out again by processes of which the first meets *fault* at its *nth* request.

    Returns how many requests there were until then, or in all.
    """
    made = itertools.count()
    running = world.process()
    running.fault = lambda *_: fault if next(made) == nth else ""
    changes = (
        lambda: [world.api.store("services", service(name)) for name in ("a", "b")],
        lambda: world.api.change("services", "default/a", type="ClusterIP"),
        lambda: world.api.store("services", service("c")),
        lambda: world.api.delete("services", "default/b"),
        lambda: world.api.store("services", service("d")),
        lambda: None,  # and time to come to an end
    )
    kept: dict[str, list[str]] = {}
    for change in changes:
        change()
        for _ in range(4):  # by then a dead process's Lease has ended
            try:
                running.see()
                running.turn()
            except Killed:
                running = world.process()
            held = world.api.held()
            given = list(itertools.chain(*held.values()))
            assert len(given) == len(set(given)), "an address is two Services'"
            specs = {key: found["spec"] for key, found in world.api.kinds["services"].items()}
            lost = [key for key in kept.keys() & held if held[key] != kept[key] and specs[key]["type"] != "ClusterIP"]
            assert not lost, "who has an address keeps it"
            kept = {key: addresses for key, addresses in held.items() if addresses}
            world.pass_time(6)
    return next(made)


# of a life in which nobody dies: the Lease, which is renewed, the first lists, and each write
REQUESTS = 64


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("nth", range(REQUESTS))
def test_whichever_request_it_dies_at_no_address_is_two_services_and_none_is_lost(
    world: World, nth: int, fault: str
) -> None:
    life(world, nth, fault)
    held = world.api.held()
    assert sorted(held) == ["default/a", "default/c", "default/d"]
    assert held["default/a"] == []
    assert sorted(held["default/c"] + held["default/d"]) == [FIRST, SECOND], "both of the pool's are in use again"


def test_a_whole_life_has_no_more_requests_than_are_tried(world: World) -> None:
    assert life(world, -1, "") <= REQUESTS


class Deaths(RuleBasedStateMachine):
    """Processes that die, hang or are not heard at any request; Services that come, change and go."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.api.store("loadbalancerpools", pool("pool", "198.51.100.1-198.51.100.3"))
        self.running: list[Process] = [self.world.process(), self.world.process()]
        self.count = 0

    @rule(
        at=st.integers(0, 1),
        fault=st.sampled_from(["", "before", "after", "lost", "late", "unheard"]),
        nth=st.integers(0, 4),
    )
    def step(self, at: int, fault: str, nth: int) -> None:
        """A turn in which every request from the nth on meets a fault."""
        process = self.running[at]
        left = [nth]

        def meets(method: str, path: str) -> str:
            del method, path
            left[0] -= 1
            return fault if left[0] < 0 else ""

        process.fault = meets
        try:
            process.allocator.turn()
        except Killed:
            self.running[at] = self.world.process()

    @rule(at=st.integers(0, 1), unseen=st.integers(0, 3))
    def see(self, at: int, unseen: int) -> None:
        """The watches bring all but the last changes."""
        self.running[at].see(unseen)

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 16.0]))
    def wait(self, seconds: float) -> None:
        """Time goes on."""
        self.world.pass_time(seconds)

    @rule(shares=st.booleans(), port=st.sampled_from([80, 443]))
    def make(self, *, shares: bool, port: int) -> None:
        """A Service comes."""
        self.count += 1
        annotations = {"sluiceway.io/lb-sharing-key": "k"} if shares else {}
        self.world.api.store("services", service(f"s{self.count}", annotations=annotations, ports=[{"port": port}]))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """One goes."""
        if names := sorted(self.world.api.kinds["services"]):
            self.world.api.delete("services", data.draw(st.sampled_from(names)))

    @rule(data=st.data(), kind=st.sampled_from(["LoadBalancer", "ClusterIP"]))
    def turn_into(self, data: st.DataObject, kind: str) -> None:
        """One is of another type."""
        if names := sorted(self.world.api.kinds["services"]):
            self.world.api.change("services", data.draw(st.sampled_from(names)), type=kind)

    @rule(data=st.data(), at=st.integers(1, 4))
    def ask(self, data: st.DataObject, at: int) -> None:
        """One asks for an address."""
        if names := sorted(self.world.api.kinds["services"]):
            self.world.api.change("services", data.draw(st.sampled_from(names)), loadBalancerIP=f"198.51.100.{at}")

    @invariant()
    def no_address_is_two_services(self) -> None:
        """The law."""
        found = [
            cast(LbService, DECODER.decode(LB_SERVICE, json.dumps(one).encode()).value)
            for one in self.world.api.kinds["services"].values()
        ]
        for one, other in combinations(found, 2):
            assert not set(one.held) & set(other.held) or may_share(one, other), (one, other)

    def teardown(self) -> None:
        """In the end whoever can has an address."""
        for _ in range(12):
            self.world.pass_time(6)
            for process in self.running:
                process.fault = lambda *_: ""
                process.turn()
        self.no_address_is_two_services()
        leaders = [process for process in self.running if process.election.is_leader]
        assert len(leaders) == 1
        refused_ones = {problem.name.name for problem in leaders[0].problems}
        for key, found in self.world.api.kinds["services"].items():
            held = self.world.api.held()[key]
            wants = found["spec"]["type"] == "LoadBalancer"
            assert bool(held) is wants or (wants and found["metadata"]["name"] in refused_ones), (key, found)


TestDeaths = Deaths.TestCase
TestDeaths.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
