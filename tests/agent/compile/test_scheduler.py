"""What a scheduler and weights make of a backend set."""

from typing import Any

import pytest

from agent.compile.desired import desired
from agent.model.address import Family
from agent.model.service import EndpointPort, Protocol, Scheduler, WeightOf, Weights, endpoint_slice
from maps import abi
from tests.agent.compile.objects import FRESH, HERE, SETTINGS, cluster, compiled, endpoint, name, piece, service

FAR, NEAR = endpoint("10.1.0.1"), endpoint("10.0.0.5", HERE)
BOTH = piece("web", FAR, NEAR)


def maps_of(**fields: Any) -> dict[str, int]:
    """How many records each map of a set has."""
    (records,) = compiled(service(**fields), BOTH).services.records.values()
    return {name: n for name, n in records.records.counts() if name in {"maglevs", "rings", "turns", "loads"}}


@pytest.mark.parametrize(
    ("scheduler", "maps"),
    [
        pytest.param(Scheduler.RR, {"rings": 1, "turns": 1}, id="turns by a ring"),
        pytest.param(Scheduler.LC, {"rings": 1, "loads": 2}, id="a ring, and what each backend has"),
        *(
            pytest.param(one, {"maglevs": 1}, id=f"tables for {one.name}")
            for one in (Scheduler.MAGLEV, Scheduler.SH, Scheduler.DH, Scheduler.MH)
        ),
    ],
)
def test_a_scheduler_has_what_it_chooses_by(scheduler: Scheduler, maps: dict[str, int]) -> None:
    assert maps_of(scheduler=scheduler) == maps


def test_who_weighs_nothing_is_a_backend_and_in_no_table() -> None:
    weights = Weights({(WeightOf.NODE, HERE): 0})
    for scheduler in Scheduler:
        (records,) = compiled(service(scheduler=scheduler, weights=weights), BOTH).services.records.values()
        made = records.records
        backends = {abi.BackendKey.unpack(k).slot: abi.Backend.unpack(v) for k, v in made.of_map("backends").items()}
        (far,) = (slot for slot, backend in backends.items() if backend.weight)
        (frontend,) = map(abi.Service.unpack, made.of_map("services").values())
        assert (frontend.backends, frontend.slot, frontend.scheduler) == (1, far, scheduler)
        for value in made.of_map("maglevs").values():
            assert {*memoryview(value).cast("H")} == {far}
        for value in made.of_map("rings").values():
            assert {*memoryview(abi.Ring.unpack(value).slots).cast("H")} == {far}


def test_a_target_has_its_weight_in_whatever_slice_it_is() -> None:
    one = endpoint_slice(
        name("web-1"), name("web"), (EndpointPort("http", Protocol.TCP, 8080),), Family.IPV4, [FAR, NEAR], ["a", "b"]
    )
    weights = Weights({(WeightOf.TARGET, "b"): 9, (WeightOf.NODE, "elsewhere"): 4})
    (records,) = compiled(service(weights=weights), one).services.records.values()
    found = map(abi.Backend.unpack, records.records.of_map("backends").values())
    assert {str(backend.addr.ipv4_mapped): backend.weight for backend in found} == {"10.1.0.1": 4, "10.0.0.5": 9}


def test_a_change_of_scheduler_or_weights_keeps_set_and_slots() -> None:
    first = desired(cluster(service(), BOTH), SETTINGS, FRESH)
    changed = service(scheduler=Scheduler.RR, weights=Weights({(WeightOf.NODE, HERE): 5}))
    second = desired(cluster(changed, BOTH), SETTINGS, first)
    keys = [next(iter(made.services.records.values())).records.of_map("backends").keys() for made in (first, second)]
    assert keys[0] == keys[1]
