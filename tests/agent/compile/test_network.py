"""Annotations in each form that Multus documents, with definitions, to interfaces; what is wrong, by its field."""

import json
from typing import Any

import pytest

from agent.compile.network import DEFAULT_FIELD, NETWORKS_FIELD, Devices, PodInterfaces, asked, interfaces, problems
from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.compile.network_status import annotation, entries
from agent.model.name import ObjectName
from agent.model.network import DEFAULT_NETWORK, NETWORKS, NetworkDefinition, NetworkRules

POD = ObjectName("apps", "web-0")
ALL = {"ips": True, "mac": True, "portMappings": True, "bandwidth": True}
FREE = NetworkRules()


def definition(namespace: str, name: str, resource: str = "", **config: Any) -> NetworkDefinition:
    text = json.dumps({"cniVersion": "1.0.0", "type": "macvlan", **config})
    return NetworkDefinition(ObjectName(namespace, name), plugin_list(text, name), resource)


DEFINITIONS = {
    one.name: one
    for one in (
        definition("apps", "lan"),
        definition("apps", "all", capabilities=ALL),
        definition("shared", "lan"),
        definition("other", "lan"),
        definition("apps", "vf", "vendor.com/vf", type="host-device"),
        definition("apps", "anyvf", type="sluiceway-cni", kind="sriov"),
        definition("apps", "anynic", type="sluiceway-cni", kind="host-device"),
        definition("kube-system", "first", type="bridge"),
        definition("kube-system", "ours", type="sluiceway-cni"),
        NetworkDefinition(ObjectName("apps", "wrong"), fault="spec.config: is no JSON"),
        NetworkDefinition(ObjectName("apps", "file")),
    )
}


def made(annotations: dict[str, str], rules: NetworkRules = FREE, devices: Devices | None = None) -> PodInterfaces:
    return interfaces(asked(POD, annotations), POD, DEFINITIONS, rules, devices=devices or {})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("lan", ["apps/lan net1"], id="a name is of the pod's namespace"),
        pytest.param("shared/lan", ["shared/lan net1"], id="or of the one before it"),
        pytest.param("lan@data0", ["apps/lan data0"], id="the interface stands behind an @"),
        pytest.param(
            "other/lan@a, lan ,lan", ["other/lan a", "apps/lan net2", "apps/lan net3"], id="several, in order"
        ),
        pytest.param('[{"name":"lan"}]', ["apps/lan net1"], id="JSON"),
        pytest.param(
            '[{"name":"lan","namespace":"shared","interface":"x"},{"name":"lan","interfaceRequest":"y"},{"name":"all"}]',
            ["shared/lan x", "apps/lan y", "apps/all net3"],
            id="JSON with namespaces and interfaces, an old name among them",
        ),
        pytest.param('[{"name":"lan","example.com/any":7}]', ["apps/lan net1"], id="others' keys have a domain"),
        pytest.param("  ", [], id="nothing"),
        pytest.param("[]", [], id="an empty list"),
    ],
)
def test_networks_are_named_in_each_form(text: str, names: list[str]) -> None:
    found = made({NETWORKS: text})
    assert [f"{one.network} {one.interface}" for one in found.more] == names
    assert found.first is None


def test_what_the_plugins_are_to_be_told() -> None:
    ports = [{"hostPort": 80, "ContainerPort": 8080, "protocol": "TCP", "hostIp": "192.0.2.1"}]
    element = {
        "name": "all",
        "ips": ["10.1.1.5", "fd00::5/64"],
        "mac": "02-AA-BB-CC-DD-EE",
        "portMappings": ports,
        "bandwidth": {"ingressRate": 1000, "egressBurst": 5},
        "cni-args": {"color": "red", "n": 3, "bad": "a;b", "is": "a=b", "nul": "a\0b", "deep": [], "no": True},
        "default-route": ["10.1.1.1", "fd00::1"],
    }
    (one,) = made({NETWORKS: json.dumps([element])}).more
    assert json.loads(one.runtime) == {
        "ips": ["10.1.1.5", "fd00::5/64"],
        "mac": "02:aa:bb:cc:dd:ee",
        "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": "192.0.2.1"}],
        "bandwidth": {"ingressRate": 1000, "egressBurst": 5},
    }
    assert one.args == (("MAC", "02:aa:bb:cc:dd:ee"), ("color", "red"), ("n", "3"))
    assert json.loads(one.cni_args)["deep"] == []
    assert [str(way) for way in one.default_route] == ["10.1.1.1", "fd00::1"]


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        pytest.param("a,,b", "[1]", "is empty", id="nothing between commas"),
        pytest.param("lan@", "[0]", "names no interface", id="nothing behind the @"),
        pytest.param("/lan", "[0]", "names no namespace", id="nothing before the slash"),
        pytest.param("a/b/c", "[0]", "'a/b' is no name of a namespace", id="two slashes"),
        pytest.param("Lan", "[0]", "'Lan' is no name", id="capital letters"),
        pytest.param("lan@aaaaaaaaaaaaaaaa", "[0]", "is no interface name", id="16 characters"),
        pytest.param("lan@a/b", "[0]", "is no interface name", id="a slash in an interface"),
        pytest.param("lan@a\0b", "[0]", "is no interface name", id="a NUL in an interface"),
        pytest.param("lan@default", "[0]", "default is the kernel's", id="whose sysctls are those of all"),
        pytest.param('[{"name":"lan","interface":"all"}]', "[0].interface", "all is the kernel's", id="so is that"),
        pytest.param("lan@a\x1bc", "[0]", "is no interface name", id="what a terminal obeys, in an interface"),
        pytest.param("lan@eth0", "[0].interface", "eth0 is another interface", id="the first one's name"),
        pytest.param("lan@lo", "[0]", "lo is another interface", id="the loopback's name"),
        pytest.param("lan@net2,lan", "[0].interface", "net2 is another interface", id="one name twice"),
        pytest.param('{"name":"lan"}', "", "is no JSON list", id="a lone object"),
        pytest.param('[{"name":"lan"]', "", "is no JSON", id="broken JSON"),
        pytest.param('["lan"]', "[0]", "is no object", id="a text in a list"),
        pytest.param('[{"namespace":"apps"}]', "[0].name", "is missing", id="no name"),
        pytest.param('[{"name":7}]', "[0].name", "7 is no string", id="a number for a name"),
        pytest.param('[{"name":"lan","ipz":[]}]', "[0].ipz", "is not known", id="a key that is not known"),
        pytest.param('[{"name":"lan","infiniband-guid":"x"}]', "[0].infiniband-guid", "InfiniBand", id="InfiniBand"),
        pytest.param('[{"name":"all","ips":["x"]}]', "[0].ips[0]", "'x' is no address", id="no address"),
        pytest.param('[{"name":"all","ips":"10.0.0.1"}]', "[0].ips", "is no list", id="addresses that are no list"),
        pytest.param('[{"name":"all","mac":"zz"}]', "[0].mac", "is no MAC", id="no MAC"),
        pytest.param('[{"name":"all","mac":"01:00:00:00:00:01"}]', "[0].mac", "single device", id="a group's MAC"),
        pytest.param(
            '[{"name":"lan","mac":"02:00:00:00:00:01"}]', "[0].mac", "no plugin of apps/lan", id="unheard MAC"
        ),
        pytest.param('[{"name":"lan","bandwidth":{"ingressRate":1}}]', "[0].bandwidth", "no plugin", id="unheard rate"),
        pytest.param(
            '[{"name":"all","bandwidth":{"rate":1}}]', "[0].bandwidth.rate", "is not known", id="a wrong rate"
        ),
        pytest.param(
            '[{"name":"all","portMappings":[{"hostPort":0}]}]',
            "[0].portMappings[0].hostPort",
            "0 is no port",
            id="port 0",
        ),
        pytest.param(
            '[{"name":"lan","default-route":["x"]}]', "[0].default-route[0]", "is no address", id="no gateway"
        ),
        pytest.param(
            '[{"name":"lan","default-route":["10.0.0.1","10.0.0.2"]}]',
            "[0].default-route[1]",
            "second gateway",
            id="two gateways of a family",
        ),
        pytest.param(
            '[{"name":"lan","default-route":["10.0.0.1"]},{"name":"lan","default-route":["fd00::1"]}]',
            "[1].default-route",
            "a pod has one way out",
            id="two ways out",
        ),
        pytest.param(
            '[{"name":"lan","cni-args":[]}]', "[0].cni-args", "is no object", id="arguments that are no object"
        ),
        pytest.param(
            '[{"name":"lan","cni-args":{"K8S_POD_NAME":""}}]',
            "[0].cni-args.K8S_POD_NAME",
            "is for the runtime alone",
            id="whose pod it is",
        ),
        pytest.param(
            '[{"name":"lan","cni-args":{"K8S_POD_UID=":7}}]',
            "[0].cni-args.K8S_POD_UID=",
            "is for the runtime alone",
            id="whose pod it is, in another way",
        ),
        pytest.param(
            json.dumps([{"name": "lan", "cni-args": {"a": "x" * (1 << 15)}}]),
            "[0].cni-args",
            "is longer than 32768 octets",
            id="more arguments than a plugin can be told",
        ),
        *(
            pytest.param(f'[{{"name":"lan","default-route":["{way}"]}}]', "[0].default-route[0]", "no address", id=way)
            for way in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fe80::1%net1", "::", "::ffff:1.2.3.4")
        ),
        pytest.param(
            '[{"name":"all","portMappings":[{"hostPort":80,"containerPort":80,"host_ip":"127.0.0.1"}]}]',
            "[0].portMappings[0].host_ip",
            "is not known; known are containerPort, hostIP, hostPort, protocol",
            id="a key of a port that nobody would hear",
        ),
        pytest.param(
            '[{"name":"all","portMappings":[{"hostPort":80,"containerPort":80,"hostIP":"x"}]}]',
            "[0].portMappings[0].hostIP",
            "'x' is no address",
            id="a host IP that is none",
        ),
        pytest.param("none", "[0]", "there is no NetworkAttachmentDefinition apps/none", id="no definition"),
        pytest.param("lan,wrong", "[1]", "cannot be used: spec.config: is no JSON", id="a wrong definition"),
        pytest.param("file", "[0]", "no file of this node", id="neither a configuration nor a file"),
        pytest.param("vf", "[0]", "vendor.com/vf, of which the pod has 0", id="no device"),
        pytest.param("anyvf", "[0]", "nor a key that says which device it is made of", id="no device at all"),
        pytest.param("anynic", "[0]", "nor a key that says which device", id="no device of the node at all"),
        pytest.param(
            '[{"name":"lan","deviceID":"0000:00:03.0"}]',
            "[0].deviceID",
            "has no annotation",
            id="a device of the node's",
        ),
        pytest.param("kube-system/ours", "[0]", "sluiceway-cni without a kind", id="ours"),
        pytest.param(",".join(["lan"] * 65), "", "asks for 65 networks; a pod can have 64", id="too many"),
    ],
)
def test_what_is_wrong_names_its_field(text: str, field: str, says: str) -> None:
    with pytest.raises(NetworkRefused) as refused:
        made({NETWORKS: text})
    assert (refused.value.field, says in refused.value.text) == (f"{NETWORKS_FIELD}{field}", True), refused.value
    told = [*problems({POD: {NETWORKS: text}}, DEFINITIONS, FREE)]
    is_of_devices = "of which the pod has" in says
    assert [(one.kind, one.name, one.field) for one in told] == (
        [] if is_of_devices else [("Pod", POD, refused.value.field)]
    )


def test_a_definitions_own_arguments_are_an_object_that_a_pods_join() -> None:
    with pytest.raises(NetworkRefused, match=r"spec\.config\.args\.cni: 'red' is no object"):
        definition("apps", "lan", args={"cni": "red"})


def test_a_pods_devices_go_to_its_networks_in_order() -> None:
    found = made({NETWORKS: "vf,lan,vf"}, devices={"vendor.com/vf": ("0000:03:02.0", "0000:03:02.1")})
    assert [one.device for one in found.more] == ["0000:03:02.0", "", "0000:03:02.1"]
    with pytest.raises(NetworkRefused, match="of which the pod has 1"):
        made({NETWORKS: "vf,vf"}, devices={"vendor.com/vf": ("0000:03:02.0",)})


def test_a_pod_names_devices_that_it_was_given_and_no_others() -> None:
    given = {"vendor.com/vf": ("0000:03:02.0", "0000:03:02.1")}
    second = json.dumps([{"name": "vf", "deviceID": "0000:03:02.1"}, {"name": "vf"}])
    assert [one.device for one in made({NETWORKS: second}, devices=given).more] == ["0000:03:02.1", "0000:03:02.0"]
    first = json.dumps([{"name": "vf"}, {"name": "vf", "deviceID": "0000:03:02.0"}])
    assert [one.device for one in made({NETWORKS: first}, devices=given).more] == ["0000:03:02.1", "0000:03:02.0"]
    for device, other in (("0000:00:03.0", "0000:03:02.0"), ("0000:03:02.0", "0000:03:02.0")):
        asked_for = json.dumps([{"name": "vf", "deviceID": other}, {"name": "vf", "deviceID": device}])
        with pytest.raises(NetworkRefused, match=f"was not given {device}") as refused:
            made({NETWORKS: asked_for}, devices=given)
        assert refused.value.field == f"{NETWORKS_FIELD}[1].deviceID"


def test_an_isolated_pod_names_its_own_namespaces_definitions_and_shared_ones() -> None:
    rules = NetworkRules(is_isolated=True, global_namespaces=frozenset({"shared"}))
    assert len(made({NETWORKS: "lan,shared/lan"}, rules).more) == 2
    with pytest.raises(NetworkRefused, match="other/lan is of another namespace"):
        made({NETWORKS: "lan,other/lan"}, rules)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        pytest.param("first", "kube-system/first eth0", id="of the system's namespace"),
        pytest.param('[{"name":"first"}]', "kube-system/first eth0", id="as JSON"),
        pytest.param("kube-system/ours", "", id="ours, which is so anyway"),
    ],
)
def test_the_first_interface_can_be_on_another_network(text: str, first: str) -> None:
    found = made({DEFAULT_NETWORK: text, NETWORKS: "lan"})
    assert (f"{found.first.network} {found.first.interface}" if found.first else "") == first
    assert [one.interface for one in found.more] == ["net1"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param("first,first", "", id="two"),
        pytest.param("apps/lan", "[0]", id="of another namespace"),
        pytest.param("first@eth1", "[0].interface", id="with a name"),
    ],
)
def test_a_first_network_that_cannot_be_names_its_field(text: str, field: str) -> None:
    with pytest.raises(NetworkRefused) as refused:
        made({DEFAULT_NETWORK: text})
    assert refused.value.field == f"{DEFAULT_FIELD}{field}"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param("{", "spec.config", id="no JSON"),
        pytest.param("[]", "spec.config", id="a list"),
        pytest.param("{}", "spec.config.type", id="no type"),
        pytest.param('{"type":"a/b"}', "spec.config.type", id="a path"),
        pytest.param('{"type":"sluiceway-cni","kind":"tap"}', "spec.config.kind", id="a kind that there is not"),
        pytest.param(
            '{"cniVersion":"1.0.0","type":"sluiceway-cni","kind":"sriov","vlan":5000}', "spec.config.vlan", id="a VLAN"
        ),
        pytest.param(
            '{"cniVersion":"1.0.0","type":"sluiceway-cni","kind":"veth","ipam":{"type":"static"}}',
            "spec.config.ipam",
            id="ipam of a kind that has the cluster's addresses",
        ),
        pytest.param(
            '{"cniVersion":"1.0.0","type":"sluiceway-cni","kind":"sriov","ipam":{"type":"dhcp"}}',
            "spec.config.ipam.type",
            id="a VF whose lease nobody could renew",
        ),
        pytest.param(
            '{"cniVersion":"1.0.0","type":"sluiceway-cni","kind":"afxdp","afxdp":{"queues":0}}',
            "spec.config.afxdp.queues",
            id="no queues",
        ),
        pytest.param('{"type":"sluiceway-cni","kind":"veth"}', "spec.config.cniVersion", id="our kind of CNI 0.1.0"),
        pytest.param('{"type":"a","name":"a b"}', "spec.config.name", id="a name with a blank"),
        pytest.param('{"type":"a","cniVersion":"2.0.0"}', "spec.config.cniVersion", id="a version that is not known"),
        pytest.param('{"plugins":[]}', "spec.config.plugins", id="no plugins"),
        pytest.param('{"plugins":[{"type":"a"},7]}', "spec.config.plugins[1]", id="a number for a plugin"),
        pytest.param('{"plugins":[{"type":"a"},{}]}', "spec.config.plugins[1].type", id="a plugin without a type"),
        pytest.param(
            '{"plugins":[{"type":"a"},{"type":"sluiceway-cni"}]}', "spec.config.plugins", id="ours in a chain"
        ),
        pytest.param('{"type":"a","ipam":[]}', "spec.config.ipam", id="ipam that is no object"),
        pytest.param(
            '{"plugins":[{"type":"a"},{"type":"b","ipam":{"type":"host-local","routes":[{"dst":"10.8.0.0"}]}}]}',
            "spec.config.plugins[1].ipam.routes[0].dst",
            id="a route without a prefix's length",
        ),
        pytest.param(
            '{"cniVersion":"1.0.0","type":"sluiceway-cni","kind":"vlan","master":"eth1","vlanId":5,'
            '"ipam":{"type":"sluiceway-cni","pool":"a","routes":[{"dst":"::/0","gw":"10.0.0.1"}]}}',
            "spec.config.ipam.routes[0].gw",
            id="a gateway of another family",
        ),
        pytest.param('{"type":"a","ipam":{"subnet":"x"}}', "spec.config.ipam.type", id="ipam without a type"),
        pytest.param(
            '{"type":"a","capabilities":{"ips":1}}', "spec.config.capabilities.ips", id="a number for a switch"
        ),
        pytest.param('{"type":"a","disableCheck":3}', "spec.config.disableCheck", id="disableCheck that is a number"),
    ],
)
def test_a_configuration_that_cannot_be_used_names_its_field(config: str, field: str) -> None:
    with pytest.raises(NetworkRefused) as refused:
        plugin_list(config, "lan")
    assert refused.value.field == field


def test_a_configuration_has_the_highest_version_that_is_known_and_its_definitions_name() -> None:
    text = '{"cniVersion":"0.4.0","cniVersions":["9.0.0","1.0.0"],"type":"a","disableCheck":"true","ipam":{}}'
    found = plugin_list(text, "lan")
    assert (found.name, found.version, found.checks, found.collects) == ("lan", "1.0.0", False, True)
    assert plugin_list('{"type":"a"}', "lan").version == "0.1.0"


def test_a_result_with_several_interfaces_is_several_entries() -> None:
    result = {
        "interfaces": [
            {"name": "br0"},
            {"name": "net1", "sandbox": "/n", "mac": "02:00:00:00:00:01", "mtu": 9000},
            {"name": "net1b", "sandbox": "/n"},
        ],
        "ips": [{"address": "10.1.1.5/24", "interface": 1}, {"address": "10.1.2.5/24", "interface": 2}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}, {"dst": "10.9.0.0/16"}],
        "dns": {"domain": "x"},
    }
    info = {"type": "pci", "version": "1.1.0"}
    found = [*entries("apps/lan", "net1", result, device_info=info)]
    first = {"name": "apps/lan", "interface": "net1", "ips": ["10.1.1.5"], "mac": "02:00:00:00:00:01", "mtu": 9000}
    rest = {"dns": {"domain": "x"}, "device-info": info, "gateway": ["10.1.1.1"]}
    assert found == [first | rest, {"name": "apps/lan", "interface": "net1b", "ips": ["10.1.2.5"], **rest}]
    assert json.loads(annotation(found)) == found


TWO = {"interfaces": [{"name": one, "sandbox": "/n"} for one in ("dummy0", "eth0")]}  # in the pod


@pytest.mark.parametrize(
    ("interface", "default"),
    [
        pytest.param("eth0", ["eth0"], id="the one that the runtime asked for"),
        pytest.param("eth9", ["dummy0"], id="the first, where none has that name"),
    ],
)
def test_of_several_interfaces_of_a_first_network_one_is_the_default(interface: str, default: list[str]) -> None:
    found = entries("kube-system/first", interface, TWO, is_default=True)
    assert [one["interface"] for one in found if one.get("default")] == default


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({}, id="which the address does not say"),
        pytest.param({"interface": None}, id="as a Go program has none"),
        pytest.param({"interface": 7}, id="which there is not"),
    ],
)
def test_an_address_of_no_interface_is_that_of_the_one_asked_for_and_no_others(said: dict[str, Any]) -> None:
    first, second = entries("apps/lan", "eth0", {**TWO, "ips": [{"address": "10.1.1.5/24", **said}]})
    assert ("ips" not in first, second["ips"]) == (True, ["10.1.1.5"])


@pytest.mark.parametrize(
    "result",
    [
        pytest.param({"ip4": {"ip": "10.1.1.5/24"}}, id="of a version before 0.3.0"),
        pytest.param({"ips": [{"version": "4", "address": "10.1.1.5/24"}]}, id="without interfaces"),
    ],
)
def test_a_result_without_interfaces_is_one_entry(result: dict[str, Any]) -> None:
    (found,) = entries("apps/lan", "net1", result, gateways=())
    assert found == {"name": "apps/lan", "interface": "net1", "ips": ["10.1.1.5"], "dns": {}}
