"""Calico's policies: what is made of them says the same, and is never wider."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.migrate.calico_policy import policies
from agent.migrate.objects import Objects
from agent.migrate.report import Migration, Notes
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kinds import KINDS
from tests.agent.migrate import calico_oracle
from tests.agent.migrate.inputs import calico, found, missing
from tests.policy.facts import Direction, Flow, Object, World, address, pod_at
from tests.policy.oracle import verdict

PODS = {
    "10.1.0.1": ("a", {"app": "web"}),
    "10.1.0.2": ("a", {"app": "db", "tier": "back"}),
    "10.1.0.3": ("b", {"app": "web", "tier": "front"}),
    "10.1.0.4": ("b", {"tier": "back"}),
    "10.1.0.5": ("c", {}),
}
OUTSIDE = ("192.0.2.7", "198.51.100.9")
FLOWS = [("TCP", 80), ("TCP", 150), ("TCP", 500), ("UDP", 80), ("ICMP", None)]
SPACES: list[Object] = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels | {"kubernetes.io/metadata.name": name}},
    }
    for name, labels in (("a", {"team": "a"}), ("b", {"team": "b"}), ("c", {}))
]
KUBERNETES: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "own", "namespace": "a"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}]}],
        "egress": [{"ports": [{"protocol": "TCP", "port": 80}]}],
    },
}


def pod(ip: str) -> Object:
    namespace, labels = PODS[ip]
    name = f"p{ip.rpartition('.')[2]}"
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1"},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}], "phase": "Running"},
    }


def imported(*items: object) -> Migration:
    notes = Notes()
    policies(notes, found(*items))
    return notes.result()


ENTITIES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"selector": st.sampled_from(sorted(calico_oracle.SELECTORS))},
        optional={"namespaceSelector": st.sampled_from(sorted(calico_oracle.NAMESPACES))},
    ),
    st.fixed_dictionaries(
        {
            "nets": st.lists(
                st.sampled_from(["192.0.2.0/24", "10.1.0.0/16", "0.0.0.0/0"]), min_size=1, max_size=2, unique=True
            )
        },
        optional={"notNets": st.just(["10.1.0.2/32"])},
    ),
)
TRANSPORTS = st.one_of(
    st.just((None, None)),
    st.tuples(st.sampled_from(["TCP", "UDP"]), st.sampled_from([None, [80], ["100:200"], [80, "100:200"]])),
)


@st.composite
def rule(draw: st.DrawFn, direction: str, actions: tuple[str, ...]) -> Object:
    protocol, ports = draw(TRANSPORTS)
    made: dict[str, Any] = {"action": draw(st.sampled_from(actions))}
    entity = draw(ENTITIES)
    if protocol:
        made["protocol"] = protocol
    if direction == "ingress":
        made |= {"source": entity} | ({"destination": {"ports": ports}} if ports else {})
    else:
        made["destination"] = entity | ({"ports": ports} if ports else {})
    return made


@st.composite
def policy(draw: st.DrawFn, name: str) -> Object:
    is_global = draw(st.booleans())
    actions = draw(st.sampled_from([("Allow",), ("Allow",), ("Deny", "Allow")]))
    types = draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    spec: dict[str, Any] = {"selector": draw(st.sampled_from(sorted(calico_oracle.SELECTORS))), "types": types}
    if (order := draw(st.sampled_from([None, 10, 20, 1000, 2000]))) is not None:
        spec["order"] = order
    for direction in map(str.lower, types):
        ends = draw(st.sampled_from([[], [], [{"action": "Deny"}]]))
        spec[direction] = draw(st.lists(rule(direction, actions), max_size=2)) + ends
    if is_global:
        if draw(st.booleans()):
            spec["namespaceSelector"] = draw(st.sampled_from(sorted(calico_oracle.NAMESPACES)))
        return calico("GlobalNetworkPolicy", name, spec)
    return calico("NetworkPolicy", name, spec, namespace=draw(st.sampled_from("ab")))


@settings(max_examples=100, deadline=None)
@given(
    theirs=st.lists(st.sampled_from("pqr"), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.tuples(*map(policy, names))
    ),
    kubernetes=st.booleans(),
)
def test_what_is_made_is_never_wider_and_else_the_same(theirs: tuple[Object, ...], *, kubernetes: bool) -> None:
    own = [KUBERNETES] if kubernetes else []
    made = imported(*theirs, *SPACES, *own)
    told = missing(made)
    if any(line.startswith("spec:") for line in told):
        return  # a policy was refused, and its rules are nowhere
    is_same = all(line.startswith("spec.ingress:") for line in told)
    pods = [pod(ip) for ip in PODS]
    before = World(namespaces=SPACES, pods=pods, network_policies=own)
    after = World(
        namespaces=SPACES,
        pods=pods,
        network_policies=[*own, *(dict(one) for one in made.objects if one["kind"] == "NetworkPolicy")],
        cluster_network_policies=[dict(one) for one in made.objects if one["kind"] == "ClusterNetworkPolicy"],
    )
    for source in (*PODS, *OUTSIDE):
        for target in (*PODS, *OUTSIDE):
            if source == target:
                continue
            for protocol, port in FLOWS:
                flow = Flow(address(source), address(target), protocol, port)
                _compare(before, after, list(theirs), flow, is_same=is_same)


def _compare(before: World, after: World, theirs: list[Object], flow: Flow, *, is_same: bool) -> None:
    now = verdict(after, flow)
    for direction, ruling, end in (
        (Direction.EGRESS, now.egress, flow.source),
        (Direction.INGRESS, now.ingress, flow.destination),
    ):
        if pod_at(before, end) is None:
            continue
        was = calico_oracle.allowed(before, theirs, flow, direction)
        assert was or not ruling.allowed, f"wider: {direction} {flow}: {ruling.reason}"
        assert not is_same or was == ruling.allowed, f"not the same: {direction} {flow}: {ruling.reason}"


def test_the_agent_understands_what_is_made() -> None:
    rules = [
        {"action": "Deny", "destination": {"nets": ["169.254.169.254/32"]}},
        {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "100:200"]}},
    ]
    allow = [
        {
            "action": "Allow",
            "protocol": "UDP",
            "source": {"selector": "app in {'a', 'b'}", "namespaceSelector": "has(team)"},
            "destination": {"ports": ["dns"]},
        }
    ]
    made = imported(
        calico("GlobalNetworkPolicy", "out", {"order": 5, "selector": "all()", "types": ["Egress"], "egress": rules}),
        calico("NetworkPolicy", "in", {"selector": "app == 'web'", "ingress": allow}, namespace="a"),
    )
    assert not missing(made)
    assert [one["kind"] for one in made.objects] == ["ClusterNetworkPolicy", "ClusterNetworkPolicy", "NetworkPolicy"]
    kinds = {kind.name: kind for kind in KINDS}
    for one in made.objects:
        decoded = Decoder("n1").decode(kinds[one["kind"]], json.dumps(one).encode())
        assert decoded.value is not None
        assert not decoded.problems


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param({"selector": "app starts with 'w'"}, "label selectors have not", id="parts of values"),
        pytest.param({"tier": "security"}, "tier security", id="another tier"),
        pytest.param({"doNotTrack": True}, "doNotTrack", id="untracked"),
        pytest.param({"preDNAT": True}, "preDNAT", id="before translation"),
        pytest.param({"serviceAccountSelector": "role == 'x'"}, "serviceAccountSelector", id="service accounts"),
        pytest.param({"ofALaterVersion": 1}, "ofALaterVersion", id="an unknown field"),
        pytest.param({"egress": [{"action": "Pass"}]}, "action Pass", id="pass"),
        pytest.param({"egress": [{"action": "Allow", "protocol": "ICMP"}]}, "protocol ICMP", id="ICMP"),
        pytest.param({"egress": [{"action": "Allow", "notProtocol": "TCP"}]}, "notProtocol", id="all but a protocol"),
        pytest.param({"egress": [{"action": "Allow", "http": {"methods": ["GET"]}}]}, "http", id="HTTP"),
        pytest.param({"egress": [{"action": "Allow", "ipVersion": 4}]}, "ipVersion", id="a family"),
        pytest.param(
            {"egress": [{"action": "Allow", "source": {"selector": "a == 'b'"}}]}, "source.selector", id="the near end"
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"domains": ["x.org"]}}]}, "destination.domains", id="names"
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"services": {"name": "x"}}}]}, "services", id="services"
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"notSelector": "a == 'b'"}}]},
            "notSelector",
            id="all but some",
        ),
        pytest.param(
            {"egress": [{"action": "Deny", "destination": {"nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"]}}]},
            "leaves no range",
            id="a hole",
        ),
        pytest.param(
            {"ingress": [{"action": "Allow"}], "types": ["Ingress"]},
            "give the Namespaces",
            id="ingress without the Namespaces",
        ),
        pytest.param({"selector": "global()"}, "global()", id="what has no namespace"),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"selector": "role == 'set'"}}]},
            "GlobalNetworkSet",
            id="a selector that means a set",
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"selector": "a == 'b'", "nets": ["10.0.0.0/8"]}}]},
            "both of which",
            id="both",
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "destination": {"selector": "projectcalico.org/serviceaccount == 'x'"}}]},
            "Calico's own",
            id="its labels",
        ),
        pytest.param(
            {"egress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": ["http"]}}]},
            "named ports",
            id="a named port of everybody",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_whole(spec: dict[str, Any], why: str) -> None:
    one = {"types": ["Egress"], "selector": "all()"} | spec
    sets = calico("GlobalNetworkSet", "bad", {"nets": ["192.0.2.0/24"]}, labels={"role": "set"})
    made = imported(calico("GlobalNetworkPolicy", "p", one), sets)
    assert made.objects == ()
    assert len(missing(made)) == 1
    assert why in missing(made)[0]


def test_logging_is_told_and_decides_nothing() -> None:
    egress = [{"action": "Log"}, {"action": "Allow", "destination": {"nets": ["192.0.2.0/24"]}}]
    made = imported(
        calico("GlobalNetworkPolicy", "p", {"order": 1, "selector": "all()", "types": ["Egress"], "egress": egress})
    )
    assert [line.partition(":")[0] for line in missing(made)] == ["spec.egress[0].action=Log"]
    assert [one["spec"]["tier"] for one in made.objects] == ["Admin", "Baseline"]


def test_peers_of_nobody_allow_nobody() -> None:
    ingress = [{"action": "Allow", "source": {"nets": ["192.0.2.0/24"], "notNets": ["192.0.0.0/16"]}}]
    made = imported(calico("NetworkPolicy", "p", {"selector": "all()", "ingress": ingress}, namespace="a"))
    assert [one["spec"]["ingress"] for one in made.objects] == [[]]


def test_objects_of_other_groups_are_not_calicos() -> None:
    assert imported(KUBERNETES).objects == ()
    assert Objects.of([KUBERNETES]).of_kind("NetworkPolicy", "networking.k8s.io")
