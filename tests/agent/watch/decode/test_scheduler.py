"""What a Service's annotations say of its scheduler and its endpoints' weights, and what is wrong with them."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.service import EndpointSlice, Scheduler, Service, WeightOf
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.scheduler import FLAGS, MOST_WEIGHT, SCHEDULER, THEIR_FLAGS, THEIR_SCHEDULER, WEIGHTS
from agent.watch.decode.service import SERVICE
from maps import abi

TARGET, NODE, ZONE = WeightOf


def service(annotations: Mapping[str, str]) -> tuple[Service, list[tuple[str, str]]]:
    """The Service, and its problems: field and text; every one names the Service."""
    content = {
        "metadata": {"name": "web", "namespace": "default", "annotations": dict(annotations)},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
    }
    found = Decoder("n1").decode(SERVICE, json.dumps(content).encode())
    assert isinstance(found.value, Service)
    assert {(p.kind, str(p.name)) for p in found.problems} <= {("Service", "default/web")}
    return found.value, [(problem.field, problem.text) for problem in found.problems]


def test_the_datapath_has_the_same_numbers() -> None:
    assert {f"SCHEDULER_{one.name}": one.value for one in Scheduler} == {
        one.name: one.value for one in abi.Scheduler if one is not abi.Scheduler.SCHEDULERS
    }


ACCEPTED = [
    pytest.param({}, Scheduler.MAGLEV, False, id="nothing said is maglev"),
    *(pytest.param({SCHEDULER: one.name.lower()}, one, False, id=f"{one.name.lower()}") for one in Scheduler),
    *(
        pytest.param({THEIR_SCHEDULER: one.name.lower()}, one, False, id=f"kube-router's {one.name.lower()}")
        for one in Scheduler
        if one is not Scheduler.MAGLEV
    ),
    pytest.param({SCHEDULER: "lc", THEIR_SCHEDULER: "rr"}, Scheduler.LC, False, id="ours goes before kube-router's"),
    pytest.param({SCHEDULER: "sh", FLAGS: "sh-port"}, Scheduler.SH, True, id="sh by port"),
    pytest.param({SCHEDULER: "mh", FLAGS: "mh-fallback, mh-port"}, Scheduler.MH, True, id="mh by port"),
    pytest.param({SCHEDULER: "mh", FLAGS: "mh-fallback"}, Scheduler.MH, False, id="fallback is always so"),
    pytest.param({THEIR_SCHEDULER: "mh", THEIR_FLAGS: "flag-1,flag-2"}, Scheduler.MH, True, id="kube-router's flags"),
    pytest.param({THEIR_SCHEDULER: "mh", THEIR_FLAGS: "flag-1,flag-3"}, Scheduler.MH, False, id="those without port"),
]


@pytest.mark.parametrize(("annotations", "scheduler", "by_port"), ACCEPTED)
def test_accepted(annotations: dict[str, str], scheduler: Scheduler, by_port: bool) -> None:  # noqa: FBT001
    value, problems = service(annotations)
    assert (value.scheduler, value.by_port, problems) == (scheduler, by_port, [])


REFUSED = [
    pytest.param({SCHEDULER: "wrr"}, Scheduler.MAGLEV, SCHEDULER, "maglev holds", id="one that there is not"),
    pytest.param({SCHEDULER: "RR"}, Scheduler.MAGLEV, SCHEDULER, "maglev holds", id="in capital letters"),
    pytest.param({SCHEDULER: ""}, Scheduler.MAGLEV, SCHEDULER, "maglev holds", id="empty"),
    pytest.param({THEIR_SCHEDULER: "wlc"}, Scheduler.RR, THEIR_SCHEDULER, "rr holds", id="as kube-router reads it"),
    pytest.param({THEIR_SCHEDULER: "maglev"}, Scheduler.RR, THEIR_SCHEDULER, "rr holds", id="which has no maglev"),
    pytest.param({SCHEDULER: "sh", FLAGS: "mh-port"}, Scheduler.SH, FLAGS, "no flag", id="another scheduler's flag"),
    pytest.param({SCHEDULER: "mh", FLAGS: "port"}, Scheduler.MH, FLAGS, "no flag", id="a flag that there is not"),
    pytest.param({SCHEDULER: "rr", FLAGS: "flag-2"}, Scheduler.RR, FLAGS, "sh and mh alone", id="a flag for rr"),
]


@pytest.mark.parametrize(("annotations", "scheduler", "field", "text"), REFUSED)
def test_a_mistake_is_told_and_the_rest_goes_on(
    annotations: dict[str, str], scheduler: Scheduler, field: str, text: str
) -> None:
    value, problems = service(annotations)
    assert (value.scheduler, value.by_port) == (scheduler, False)
    ((where, told),) = problems
    assert where == f"metadata.annotations['{field}']"
    assert text in told


def test_weights_by_target_node_and_zone() -> None:
    value, problems = service({WEIGHTS: "target/web-0=3, node/worker-1=2,zone/eu-a=0 ,"})
    assert problems == []
    assert value.weights.by == {(TARGET, "web-0"): 3, (NODE, "worker-1"): 2, (ZONE, "eu-a"): 0}


@pytest.mark.parametrize(
    ("target", "node", "zone", "weight"),
    [
        pytest.param("web-0", "worker-1", "eu-a", 3, id="its own name goes before its node"),
        pytest.param("web-1", "worker-1", "eu-a", 2, id="its node before its zone"),
        pytest.param("web-1", "worker-2", "eu-a", 0, id="its zone"),
        pytest.param("web-1", "worker-2", "eu-b", 1, id="of whom nothing is said weighs 1"),
        pytest.param("", "", "", 1, id="of whom nothing is known too"),
    ],
)
def test_whose_weight_it_is(target: str, node: str, zone: str, weight: int) -> None:
    value, _ = service({WEIGHTS: "target/web-0=3, node/worker-1=2, zone/eu-a=0"})
    assert value.weights.of(target, node, zone) == weight


@pytest.mark.parametrize(
    "word",
    [
        "web-0=3",
        "pod/web-0=3",
        "target/web-0",
        "target/=3",
        "target/web-0=",
        "target/web-0=-1",
        "target/web-0=+1",
        "target/web-0=1.5",
        "target/web-0=101",
        "target/web-0=0101",
        "target/web-0=٣",
        "target/web-0=²",
    ],
)
def test_a_wrong_weight_is_told_and_the_others_count(word: str) -> None:
    value, problems = service({WEIGHTS: f"node/a=5,{word},zone/b=7"})
    assert value.weights.by == {(NODE, "a"): 5, (ZONE, "b"): 7}
    ((where, told),) = problems
    assert where == f"metadata.annotations['{WEIGHTS}']"
    assert repr(word) in told


def test_a_weight_given_twice_is_told_and_the_first_holds() -> None:
    value, problems = service({WEIGHTS: "node/a=5, node/a=6"})
    assert value.weights.by == {(NODE, "a"): 5}
    assert [field for field, _ in problems] == [f"metadata.annotations['{WEIGHTS}']"]


NAMES = st.text("abz019.-", min_size=1, max_size=20)


@given(st.dictionaries(st.tuples(st.sampled_from(WeightOf), NAMES), st.integers(0, MOST_WEIGHT), max_size=8))
def test_weights_written_are_read(by: dict[tuple[WeightOf, str], int]) -> None:
    value, problems = service({WEIGHTS: ", ".join(f"{what}/{name}={w}" for (what, name), w in by.items())})
    assert (value.weights.by, problems) == (by, [])


@given(
    st.dictionaries(st.sampled_from([SCHEDULER, FLAGS, WEIGHTS, THEIR_SCHEDULER, THEIR_FLAGS]), st.text(max_size=40))
)
def test_no_text_costs_the_service(annotations: dict[str, str]) -> None:
    value, _ = service(annotations)
    assert str(value.cluster_ips[0]) == "10.96.0.10"
    assert all(0 <= weight <= MOST_WEIGHT for weight in value.weights.by.values())


def endpoint_slice(*endpoints: object) -> EndpointSlice:
    content = {
        "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": list(endpoints),
    }
    found = Decoder("n1").decode(ENDPOINT_SLICE, json.dumps(content).encode())
    assert isinstance(found.value, EndpointSlice)
    return found.value


def test_endpoints_keep_their_targets_names_in_order() -> None:
    made = endpoint_slice(
        {"addresses": ["10.1.0.1"], "targetRef": {"kind": "Pod", "name": "web-0"}},
        {"addresses": ["bad"], "targetRef": {"kind": "Pod", "name": "nobody"}},
        {"addresses": ["10.1.0.2"]},
        {"addresses": ["10.1.0.3"], "targetRef": {"kind": "Pod", "name": "web-2"}},
    )
    assert list(made.target_names()) == ["web-0", "", "web-2"]


def test_endpoints_without_targets_have_no_names() -> None:
    made = endpoint_slice({"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"], "targetRef": None})
    assert (made.targets, list(made.target_names())) == ("", ["", ""])
