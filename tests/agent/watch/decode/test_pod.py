"""Pods of this node and Namespaces, and the ranges that their annotations name."""

import json
from ipaddress import ip_address, ip_network

import pytest

from agent.model.node import MIRROR, UNPROTECTED, Namespace, Pod
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.pod import POD
from tests.agent.watch.decode.test_decoder import DNS, decoded


def pod(phase: str = "Running", node: str = "n1") -> Decoded:
    return decoded(
        POD,
        metadata={"uid": "u-1"},
        spec={"nodeName": node, "hostNetwork": True},
        status={"phase": phase, "podIP": "10.1.0.2", "podIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}]},
    )


def test_a_pod_of_this_node() -> None:
    ips = (ip_address("10.1.0.2"), ip_address("fd00::2"))
    assert pod().value == Pod(DNS, "u-1", "n1", ips, host_network=True)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(pod(node="n2"), id="a pod of another node is not ours"),
        pytest.param(pod(node=""), id="nor one that is not scheduled"),
        pytest.param(pod(phase="Failed"), id="a failed pod has lost its address"),
        pytest.param(pod(phase="Succeeded"), id="and so has one that is done"),
    ],
)
def test_pods_that_are_not_kept(found: Decoded) -> None:
    assert (found.value, found.problems) == (None, ())


@pytest.mark.parametrize(
    ("told", "is_its"),
    [
        pytest.param("u-1", True, id="the API's"),
        pytest.param("5d41402abc4b2a76b9719d911017c592", True, id="the kubelet's"),
        pytest.param("", True, id="none"),
        pytest.param("u-2", False, id="another"),
    ],
)
def test_a_static_pod_is_known_by_the_uid_that_its_runtime_has(told: str, is_its: bool) -> None:  # noqa: FBT001
    about = {"uid": "u-1", "annotations": {MIRROR: "5d41402abc4b2a76b9719d911017c592"}}
    value = decoded(POD, metadata=about, spec={"nodeName": "n1"}, status={}).value
    assert isinstance(value, Pod)
    assert value.is_of(told) is is_its


ROUTED, ALLOWED = "sluiceway.io/routed-ranges", "sluiceway.io/allowed-routed-ranges"
RANGES = [
    pytest.param("", (), [], id="none"),
    pytest.param("10.200.0.0/16, fd00:200::/64", ("10.200.0.0/16", "fd00:200::/64"), [], id="one of each family"),
    pytest.param(" 10.200.0.0/16,,10.200.0.0/16\n", ("10.200.0.0/16",), [], id="twice the same, and spaces"),
    pytest.param("10.200.3.4", ("10.200.3.4/32",), [], id="one address"),
    pytest.param("10.200.3.4/16", ("10.200.0.0/16",), [], id="host bits"),
    pytest.param(
        "10.200.0.0/16, vpn, 10.0.0.0/99", ("10.200.0.0/16",), ["'vpn' is no CIDR, and 1 more are none"], id="no CIDRs"
    ),
    pytest.param("::ffff:10.0.0.0/112", (), ["'::ffff:10.0.0.0/112' is no CIDR"], id="IPv4 in IPv6"),
]


def asking(text: str, *, host_network: bool = False) -> Decoded:
    return decoded(
        POD, metadata={"annotations": {ROUTED: text}}, spec={"nodeName": "n1", "hostNetwork": host_network}, status={}
    )


@pytest.mark.parametrize(("text", "ranges", "wrong"), RANGES)
def test_a_pod_names_the_ranges_that_it_routes_for(text: str, ranges: tuple[str, ...], wrong: list[str]) -> None:
    found = asking(text)
    assert isinstance(found.value, Pod)
    assert found.value.routed_ranges == tuple(map(ip_network, ranges))
    assert [problem.field for problem in found.problems] == [f"metadata.annotations['{ROUTED}']"] * len(wrong)
    assert all(problem.text.startswith(begin) for problem, begin in zip(found.problems, wrong, strict=True))


@pytest.mark.parametrize(
    ("text", "ranges", "wrong"), [*RANGES, pytest.param(" * ", ("0.0.0.0/0", "::/0"), [], id="every address")]
)
def test_a_namespace_names_the_ranges_that_it_allows(text: str, ranges: tuple[str, ...], wrong: list[str]) -> None:
    content = {"metadata": {"name": "x", "annotations": {ALLOWED: text}}}
    found = Decoder("n1").decode(NAMESPACE, json.dumps(content).encode())
    assert found.value == Namespace("x", (), tuple(map(ip_network, ranges)))
    assert [problem.field for problem in found.problems] == [f"metadata.annotations['{ALLOWED}']"] * len(wrong)


def test_a_pod_has_so_many_ranges_and_no_more() -> None:
    found = asking(",".join(f"10.{i}.0.0/16" for i in range(100)))
    assert isinstance(found.value, Pod)
    assert len(found.value.routed_ranges) == 64
    assert [problem.text.partition(";")[0] for problem in found.problems] == [
        "has 100 ranges, of which the first 64 count"
    ]


def test_a_pod_in_its_nodes_network_routes_for_nobody() -> None:
    (problem,) = asking("10.200.0.0/16", host_network=True).problems
    assert "hostNetwork" in problem.text


MODE = "sluiceway.io/policy-mode"


@pytest.mark.parametrize(
    ("annotations", "audits", "wrong"),
    [
        pytest.param({}, False, [], id="policy is enforced"),
        pytest.param({MODE: "audit"}, True, [], id="policy only counts"),
        pytest.param({MODE: "Audit"}, False, [f"metadata.annotations['{MODE}']"], id="a word that is not known"),
        pytest.param({MODE: ""}, False, [f"metadata.annotations['{MODE}']"], id="an empty one"),
    ],
)
def test_what_policy_does_in_a_namespace(annotations: dict[str, str], audits: bool, wrong: list[str]) -> None:  # noqa: FBT001
    found = Decoder("n1").decode(
        NAMESPACE, json.dumps({"metadata": {"name": "x", "annotations": annotations}}).encode()
    )
    assert found.value == Namespace("x", audits=audits)
    assert [problem.field for problem in found.problems] == wrong


def test_a_namespace_has_its_labels_in_order() -> None:
    found = Decoder("n1").decode(NAMESPACE, b'{"metadata":{"name":"x","labels":{"b":"2","a":"1"}}}')
    assert found.value == Namespace("x", (("a", "1"), ("b", "2")))


def test_a_pod_names_the_interfaces_that_policy_is_not_meant_to_guard() -> None:
    content = {
        "metadata": {"namespace": "default", "name": "x", "annotations": {UNPROTECTED: " net1,, net2 "}},
        "spec": {"nodeName": "n1"},
    }
    found = Decoder("n1").decode(POD, json.dumps(content).encode())
    assert isinstance(found.value, Pod)
    assert found.value.unprotected == {"net1", "net2"}


@pytest.mark.parametrize(
    ("contexts", "drops"),
    [
        pytest.param([{}], False, id="a runtime gives it"),
        pytest.param([{"capabilities": {"drop": ["ALL"]}}], True, id="all are dropped"),
        pytest.param([{"capabilities": {"drop": ["net_raw"], "add": ["NET_ADMIN"]}}], True, id="it is dropped"),
        pytest.param([{"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}], False, id="it is added again"),
        pytest.param([{"capabilities": {"drop": ["ALL"]}, "privileged": True}], False, id="all are there"),
        pytest.param([{"capabilities": {"drop": ["ALL"]}}, {}], False, id="one of two has it"),
    ],
)
@pytest.mark.parametrize("also", ["initContainers", "ephemeralContainers"])
def test_a_pod_says_whether_its_containers_have_raw_packets(
    contexts: list[dict[str, object]],
    drops: bool,  # noqa: FBT001
    also: str,
) -> None:
    first, *others = [{"name": "c", "securityContext": each} for each in contexts]
    content = {
        "metadata": {"namespace": "default", "name": "x"},
        "spec": {"nodeName": "n1", "containers": [first], also: others},
    }
    found = Decoder("n1").decode(POD, json.dumps(content).encode())
    assert isinstance(found.value, Pod)
    assert found.value.drops_raw is drops


@pytest.mark.parametrize(
    ("context", "has"),
    [
        pytest.param({}, False, id="no runtime gives it"),
        pytest.param({"capabilities": {"drop": ["ALL"]}}, False, id="all are dropped"),
        pytest.param({"capabilities": {"add": ["NET_ADMIN"]}}, True, id="it is asked for"),
        pytest.param({"capabilities": {"drop": ["ALL"], "add": ["cap_net_admin"]}}, True, id="by its other name"),
        pytest.param({"capabilities": {"add": ["ALL"]}}, True, id="all are asked for"),
        pytest.param({"privileged": True}, True, id="a privileged container"),
    ],
)
@pytest.mark.parametrize("where", ["containers", "initContainers", "ephemeralContainers"])
def test_a_pod_says_whether_a_container_may_configure_its_devices(
    context: dict[str, object], where: str, *, has: bool
) -> None:
    each = {"name": "c", "securityContext": context}
    content = {
        "metadata": {"namespace": "default", "name": "x"},
        "spec": {"nodeName": "n1", "containers": [{"name": "m"}], where: [each]},
    }
    found = Decoder("n1").decode(POD, json.dumps(content).encode())
    assert isinstance(found.value, Pod)
    assert found.value.has_net_admin is has


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param([{}], (), id="none"),
        pytest.param([{"hugepages-2Mi": "64Mi", "cpu": "2"}], ((2048, 65536),), id="of one size"),
        pytest.param(
            [{"hugepages-1Gi": "2Gi"}, {"hugepages-1Gi": "1073741824", "hugepages-2Mi": 4194304}],
            ((2048, 4096), (1048576, 3145728)),
            id="of each size what all containers ask for together",
        ),
        pytest.param([{"hugepages-2Mi": "many", "hugepages-": "1Gi"}, None], ((2048, 0),), id="what is no quantity"),
    ],
)
def test_a_pod_says_which_huge_pages_it_asks_for(
    limits: list[dict[str, object] | None], expected: tuple[tuple[int, int], ...]
) -> None:
    content = {
        "metadata": {"namespace": "default", "name": "x"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"limits": each}} for each in limits]},
    }
    found = Decoder("n1").decode(POD, json.dumps(content).encode())
    assert isinstance(found.value, Pod)
    assert found.value.hugepages == expected
