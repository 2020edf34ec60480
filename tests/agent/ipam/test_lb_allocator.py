"""The allocator against an API server in memory: what Services get, and no address twice whatever dies or is late."""

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
from tests.agent.ipam.lb_world import DECODER, Killed, Process, World, pool, refused, service

FIRST, SECOND = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def world() -> World:
    world = World()
    world.api.store("loadbalancerpools", pool("pool", f"{FIRST}-{SECOND}", "2001:db8::1-2001:db8::9"))
    return world


def test_a_service_is_given_an_address_and_gives_it_back_with_its_type(world: World) -> None:
    world.api.store("services", service("web"))
    process = world.process()
    process.turn()
    assert world.api.held() == {"default/web": [FIRST]}
    (condition,) = world.api.kinds["services"]["default/web"]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("sluiceway.io/LoadBalancerAddress", "True")
    world.api.change("services", "default/web", type="ClusterIP")
    process.see()
    process.turn()
    assert world.api.held() == {"default/web": []}
    assert world.api.kinds["services"]["default/web"]["status"]["conditions"] == []
    world.api.store("services", service("other"))
    process.see()
    process.turn()
    assert world.api.held()["default/other"] == [FIRST]


def test_a_service_of_ours_is_there_until_its_address_is_given_back(world: World) -> None:
    world.api.store("services", service("web"))
    world.api.kinds["services"]["default/web"]["metadata"]["finalizers"] = ["example.com/mine"]
    process = world.process()
    process.turn()
    cleanup = "service.kubernetes.io/load-balancer-cleanup"
    assert world.api.kinds["services"]["default/web"]["metadata"]["finalizers"] == ["example.com/mine", cleanup]
    world.api.change("services", "default/web", type="ClusterIP")
    process.see()
    process.turn()
    assert world.api.kinds["services"]["default/web"]["metadata"]["finalizers"] == ["example.com/mine"]
    world.api.store("services", service("short"))
    process.see()
    process.turn()
    world.api.delete("services", "default/short")
    assert world.api.held()["default/short"] == [FIRST], "nobody has given it back yet"
    process.see()
    process.turn()
    assert "default/short" not in world.api.held()


def test_a_service_that_was_given_its_address_without_the_finalizer_gets_it(world: World) -> None:
    world.api.store("services", service("web"))
    process = world.process()
    process.turn()
    world.api.kinds["services"]["default/web"]["metadata"]["finalizers"] = []
    world.api.change("services", "default/web")
    process.see()
    process.turn()
    assert len(world.api.kinds["services"]["default/web"]["metadata"]["finalizers"]) == 1
    assert world.api.held() == {"default/web": [FIRST]}


def test_what_another_balancer_gave_is_left_alone(world: World) -> None:
    cloud = service("cloud")
    cloud["status"]["loadBalancer"]["ingress"] = [{"ip": "203.0.113.9"}]
    world.api.store("services", cloud)
    named = service("named")
    named["status"]["loadBalancer"]["ingress"] = [{"hostname": "lb.example"}]
    world.api.store("services", named)
    world.api.store("services", service("foreign", loadBalancerClass="example.com/lb"))
    process = world.process()
    process.turn()
    assert not [path for method, path in process.sent if method == "PATCH" and "/services/" in path]


def test_the_pools_status_says_what_is_in_use_and_what_overlaps(world: World) -> None:
    world.api.store("loadbalancerpools", pool("second", f"{SECOND}-198.51.100.5"))
    world.api.store("services", service("web"))
    world.process().turn()
    status = {key: found["status"] for key, found in world.api.kinds["loadbalancerpools"].items()}
    assert status["/pool"]["total"] == 2 + 9
    assert status["/pool"]["used"] == 1
    assert status["/second"]["total"] == 4
    assert "overlaps LoadBalancerPool second" in status["/pool"]["conflicts"][0]


def test_nothing_is_written_when_nothing_changes(world: World) -> None:
    world.api.store("services", service("web"))
    process = world.process()
    process.turn()
    sent = len([1 for method, _ in process.sent if method == "PATCH"])
    for _ in range(5):
        process.see()
        process.turn()
    assert len([1 for method, _ in process.sent if method == "PATCH"]) == sent


def test_what_cannot_be_had_is_a_problem_and_an_event(world: World) -> None:
    world.api.store("services", service("web", annotations={"sluiceway.io/lb-ips": "192.0.2.1"}))
    world.api.store("services", service("older", loadBalancerIP=FIRST))
    world.api.store("services", service("younger", loadBalancerIP=FIRST))
    process = world.process()
    process.turn()
    assert world.api.held() == {"default/web": [], "default/older": [FIRST], "default/younger": []}
    told = {(one.name.name, one.field): one.text for one in process.problems}
    assert told == {
        ("web", "metadata.annotations['sluiceway.io/lb-ips']"): "192.0.2.1 is in no LoadBalancerPool",
        ("younger", "spec.loadBalancerIP"): f"{FIRST} is Service default/older's",
    }
    uids = {key.partition("/")[2]: one["metadata"]["uid"] for key, one in world.api.kinds["services"].items()}
    assert {(problem.name.name, uid) for problem, uid in process.told} == {
        ("web", uids["web"]),
        ("younger", uids["younger"]),
    }


def test_a_request_that_is_mended_is_met_and_the_problem_goes(world: World) -> None:
    world.api.store("services", service("web", loadBalancerIP="192.0.2.1"))
    process = world.process()
    process.turn()
    world.api.change("services", "default/web", loadBalancerIP=SECOND)
    process.see()
    process.turn()
    assert (world.api.held(), process.problems) == ({"default/web": [SECOND]}, ())


def test_another_process_begins_where_the_lease_ended_and_adopts_what_it_finds(world: World) -> None:
    world.api.store("services", service("web"))
    first, second = world.process(), world.process()
    first.turn()
    second.turn()
    assert (first.election.is_leader, second.election.is_leader) == (True, False)
    world.api.store("services", service("later"))
    for _ in range(7):
        world.pass_time(2.5)
        second.turn()
    assert second.election.is_leader
    assert not first.election.is_leader
    assert world.api.held() == {"default/web": [FIRST], "default/later": [SECOND]}


def test_a_lease_given_back_is_anothers_at_once(world: World) -> None:
    first, second = world.process(), world.process()
    first.turn()
    second.turn()
    first.election.release()
    world.pass_time(2.5)
    second.turn()
    assert second.election.is_leader


def test_a_server_whose_clock_is_wrong_changes_nothing(world: World) -> None:
    """What a Lease says of times is not compared with anybody's clock."""
    first, second = world.process(), world.process()
    first.turn()
    (lease,) = world.api.kinds["leases"].values()
    world.api.store("leases", {**lease, "spec": {**lease["spec"], "renewTime": "1999-01-01T00:00:00.000000Z"}})
    second.turn()
    world.pass_time(14)
    second.turn()
    assert not second.election.is_leader
    world.pass_time(2)
    second.turn()
    assert second.election.is_leader


def test_a_process_that_gets_the_lease_again_lists_anew(world: World) -> None:
    """What it knew is from before another had it, also where it never noticed that it had lost it."""
    first, second = world.process(), world.process()
    first.turn()
    assert first.watching
    world.pass_time(1)
    second.turn()
    world.pass_time(16)
    second.turn()
    world.api.store("services", service("web"))
    second.see()
    second.turn()
    assert world.api.held() == {"default/web": [FIRST]}
    second.election.release()
    world.api.store("services", service("later"))
    world.pass_time(3)
    first.turn(sees=False)
    assert first.election.is_leader
    assert "LbService" not in first.mirror.cluster.listed
    first.turn()
    assert world.api.held() == {"default/web": [FIRST], "default/later": [SECOND]}


def test_a_patch_without_an_answer_keeps_its_address_from_others(world: World) -> None:
    world.api.store("services", service("web"))
    process = world.process()
    process.fault = lambda method, path: "late" if method == "PATCH" and "/web/" in path else ""
    process.turn()
    world.api.store("services", service("later"))
    process.see()
    process.turn()
    assert world.api.held() == {"default/web": [], "default/later": [SECOND]}
    world.pass_time(3)
    assert world.api.held() == {"default/web": [FIRST], "default/later": [SECOND]}


@pytest.mark.parametrize("fault", ["late", "unheard", "lost", ""])
def test_an_older_service_is_not_given_what_a_younger_one_may_have(world: World, fault: str) -> None:
    """The older one is asked first; what was sent for the younger one, and has not been seen, is not there for it."""
    world.api.store("services", service("older", type="ClusterIP"))
    world.api.store("services", service("younger"))
    process = world.process()
    process.turn(sees=False)
    process.see()
    world.api.change("services", "default/older", type="LoadBalancer")
    mark = len(world.api.past)
    process.fault = lambda method, path: fault if method == "PATCH" and "/younger/" in path else ""
    process.allocator.turn()
    process.fault = lambda *_: ""
    process.see(unseen=len(world.api.past) - mark)  # the older one's change, not yet what was written
    process.allocator.turn()
    world.pass_time(5)
    process.turn()
    assert world.api.held() == {"default/older": [SECOND], "default/younger": [FIRST]}


def test_an_attempt_that_was_carried_out_after_all_is_not_forgotten_when_the_next_is_refused(world: World) -> None:
    world.api.store("services", service("older", type="ClusterIP"))
    world.api.store("services", service("younger"))
    process = world.process()
    process.turn(sees=False)
    process.see()
    world.api.change("services", "default/older", type="LoadBalancer")
    mark = len(world.api.past)
    process.fault = lambda method, path: "unheard" if method == "PATCH" and "/younger/" in path else ""
    process.allocator.turn()
    process.fault = lambda *_: ""
    world.pass_time(1)
    process.allocator.turn()  # tried again, and refused: the first attempt has changed the Service
    process.see(unseen=len(world.api.past) - mark)
    process.allocator.turn()
    assert world.api.held()["default/older"] != [FIRST]


def test_a_service_that_changed_meanwhile_is_not_overwritten(world: World) -> None:
    world.api.store("services", service("web"))
    process = world.process()
    process.turn(sees=False)
    process.see()
    world.api.change("services", "default/web", type="ClusterIP")
    process.allocator.turn()
    assert world.api.held() == {"default/web": []}


@pytest.mark.parametrize("code", [403, 422, 500])
def test_a_refused_write_is_tried_again_later(world: World, code: int) -> None:
    world.api.store("services", service("web"))
    process = world.process()

    def fault(method: str, path: str) -> str:
        if method == "PATCH" and "/services/" in path:
            raise refused(code, path)
        return ""

    process.fault = fault
    process.turn()
    assert world.api.held() == {"default/web": []}
    process.fault = lambda *_: ""
    world.pass_time(2)
    process.turn()
    assert world.api.held() == {"default/web": [FIRST]}


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
