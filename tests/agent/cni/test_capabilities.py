"""What runtimes ask for beside the interface: both spellings of keys, and errors that name the field."""

from typing import Any

import pytest

from agent.cni.capabilities import ANNOTATIONS, capabilities
from agent.cni.error import CniError
from agent.model.attachment import HostPort, Limit
from agent.model.service import Protocol

WEB = HostPort("", 8080, Protocol.TCP, 80)


def asked(**runtime: Any) -> dict[str, Any]:
    return {"runtimeConfig": runtime}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, id="as CRI-O writes it"),
        pytest.param(
            {"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""}, id="as containerd writes it"
        ),
        pytest.param({"hostPort": 8080, "containerPort": 80}, id="TCP where nothing is said"),
    ],
)
def test_a_port_mapping_is_read_in_every_spelling(entry: dict[str, Any]) -> None:
    assert capabilities(asked(portMappings=[entry, entry])).host_ports == (WEB,)


def test_a_host_ip_is_written_one_way() -> None:
    entry = {"hostPort": 53, "containerPort": 53, "protocol": "UDP", "hostIP": "2001:DB8:0::1"}
    assert capabilities(asked(portMappings=[entry])).host_ports == (HostPort("2001:db8::1", 53, Protocol.UDP, 53),)


@pytest.mark.parametrize("protocol", Protocol)
def test_every_protocol_has_host_ports(protocol: Protocol) -> None:
    found = capabilities(
        asked(portMappings=[{"hostPort": 8080, "containerPort": 80, "protocol": protocol.name.lower()}])
    )
    assert found.host_ports == (HostPort("", 8080, protocol, 80),)


def test_a_container_port_without_a_host_port_is_not_asked_for() -> None:
    assert capabilities(asked(portMappings=[{"hostPort": 0, "containerPort": 80}])).host_ports == ()


@pytest.mark.parametrize(
    "bandwidth",
    [
        pytest.param(
            {"ingressRate": 8000, "ingressBurst": 2**35 - 8, "egressRate": 10**6, "egressBurst": 5000}, id="CRI-O"
        ),
        pytest.param(
            {"IngressRate": 8000, "IngressBurst": 4294967295, "EgressRate": 10**6, "EgressBurst": 5000}, id="containerd"
        ),
        pytest.param({"ingressRate": 8000, "egressRate": 10**6, "egressBurst": 5000}, id="no burst is ours to choose"),
    ],
)
def test_bandwidth_is_read_in_every_spelling(bandwidth: dict[str, int]) -> None:
    found = capabilities(asked(bandwidth=bandwidth))
    assert (found.ingress, found.egress) == (Limit(8000, 0), Limit(10**6, 5000))


@pytest.mark.parametrize(
    "bandwidth",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="an empty one"),
        pytest.param({"ingressRate": 0, "ingressBurst": 0, "egressRate": None}, id="zeros"),
        pytest.param({"IngressRate": 0, "IngressBurst": 4294967295}, id="as one direction's is left out"),
    ],
)
def test_no_rate_is_no_limit(bandwidth: dict[str, Any] | None) -> None:
    found = capabilities(asked(bandwidth=bandwidth))
    assert (found.ingress, found.egress) == (None, None)


def test_addresses_come_with_and_without_a_length_and_before_annotations() -> None:
    notes = {"sluiceway.io/ipv4": "10.0.0.9", "sluiceway.io/ipv6": "fd00::9"}
    found = capabilities({"runtimeConfig": {ANNOTATIONS: notes}})
    assert [(str(w.address), w.field) for w in found.addresses] == [
        ("10.0.0.9", "sluiceway.io/ipv4"),
        ("fd00::9", "sluiceway.io/ipv6"),
    ]
    found = capabilities({"runtimeConfig": {ANNOTATIONS: notes, "ips": ["10.0.0.7/24"]}})
    assert [(str(w.address), w.field) for w in found.addresses] == [("10.0.0.7", "runtimeConfig.ips[0]")]


def test_a_mac_is_lower_case() -> None:
    assert capabilities(asked(mac="C2:11:22:33:44:AA")).mac == "c2:11:22:33:44:aa"


def test_nothing_asked_is_nothing() -> None:
    assert capabilities({}) == capabilities({"runtimeConfig": {}})


def mapping(**fields: Any) -> dict[str, Any]:
    return asked(portMappings=[{"hostPort": 1, "containerPort": 1, **fields}])


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        pytest.param({"runtimeConfig": 1}, 7, "runtimeConfig: 1 is no object", id="a configuration of a wrong type"),
        pytest.param(asked(portMappings={}), 7, "runtimeConfig.portMappings: {} is no list", id="no list"),
        pytest.param(asked(portMappings=[1]), 7, "runtimeConfig.portMappings[0]: 1 is no object", id="no object"),
        pytest.param(mapping(hostPort=65536), 7, "portMappings[0].hostPort: 65536 is no port", id="a port too high"),
        pytest.param(mapping(hostPort="80"), 7, "portMappings[0].hostPort: '80' is no port", id="a port as text"),
        pytest.param(mapping(hostPort=True), 7, "portMappings[0].hostPort: True is no port", id="a truth as a port"),
        pytest.param(mapping(containerPort=0), 7, "portMappings[0].containerPort: 0 is no port", id="port zero"),
        pytest.param(mapping(protocol="icmp"), 7, "protocol: 'icmp' is no protocol", id="an unknown protocol"),
        pytest.param(mapping(protocol=6), 7, "protocol: 6 is no protocol", id="a protocol by number"),
        pytest.param(mapping(hostIP="node"), 7, "hostIP: 'node' is no address", id="a name as host address"),
        pytest.param(mapping(hostIP=7), 7, "hostIP: 7 is no string", id="a number as host address"),
        pytest.param(asked(bandwidth=[]), 7, "runtimeConfig.bandwidth: [] is no object", id="bandwidth as a list"),
        pytest.param(asked(bandwidth={"EgressRate": "1M"}), 7, "egressRate: '1M' is no number", id="a rate as text"),
        pytest.param(asked(bandwidth={"egressRate": 1e6}), 7, "egressRate: 1000000.0 is no", id="a rate as a fraction"),
        pytest.param(asked(bandwidth={"egressRate": True}), 7, "egressRate: True is no", id="a truth as a rate"),
        pytest.param(asked(bandwidth={"ingressRate": -1}), 7, "ingressRate: -1 is no number", id="a rate below zero"),
        pytest.param(
            asked(bandwidth={"ingressRate": 999}), 7, "ingressRate: 999 bits per second", id="too slow a rate"
        ),
        pytest.param(asked(bandwidth={"egressRate": 10**16}), 7, "from 1000 to 1000000000000000", id="too fast a rate"),
        pytest.param(
            asked(bandwidth={"ingressRate": 8000, "egressBurst": 8}),
            7,
            "egressBurst: 8 bits, and no egressRate",
            id="a lone burst",
        ),
        pytest.param(
            asked(bandwidth={"ingressRate": 8000, "ingressBurst": "a"}), 7, "ingressBurst: 'a'", id="a burst as text"
        ),
        pytest.param(asked(ips=["10.0.0"]), 7, "runtimeConfig.ips[0]: '10.0.0' is no address", id="half an address"),
        pytest.param(asked(ips=[["a"]]), 7, "runtimeConfig.ips[0]: ['a'] is no string", id="an address as a list"),
        pytest.param(
            asked(**{ANNOTATIONS: {"sluiceway.io/ipv6": "fd00::5%x"}}),
            7,
            "sluiceway.io/ipv6: 'fd00::5%x' has a zone",
            id="an annotation's address with a zone",
        ),
        pytest.param(mapping(hostIP="fd00::5%x"), 7, "hostIP: 'fd00::5%x' has a zone", id="a host's with a zone"),
        pytest.param(
            asked(ips=["10.0.0.1", "10.0.0.2"]), 7, "ips[1]: a pod has one address of each", id="two of a family"
        ),
        pytest.param(asked(mac="c2:11"), 7, "runtimeConfig.mac: 'c2:11' is no MAC address", id="half a MAC"),
        pytest.param(asked(mac="01:00:5e:00:00:01"), 7, "is no address of a single device", id="a group's MAC"),
        pytest.param(asked(mac="00:00:00:00:00:00"), 7, "is no address of a single device", id="the zero MAC"),
        pytest.param(
            asked(**{ANNOTATIONS: {"sluiceway.io/ipv4": "fd00::1"}}),
            7,
            "sluiceway.io/ipv4: fd00::1 is no IPv4 address",
            id="an annotation of the other family",
        ),
        pytest.param(asked(**{ANNOTATIONS: {"a": 1}}), 7, "['a']: 1 is no string", id="an annotation that is no text"),
    ],
)
def test_a_bad_field_is_named(config: dict[str, Any], code: int, words: str) -> None:
    with pytest.raises(CniError) as error:
        capabilities(config)
    assert words in str(error.value)
    assert error.value.code == code
