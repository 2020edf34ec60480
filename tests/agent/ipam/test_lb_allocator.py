"""The allocator against an API server in memory: what Services get, and no address twice whatever is late."""

import pytest

from tests.agent.ipam.lb_world import FIRST, SECOND, World, pool, refused, service


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
