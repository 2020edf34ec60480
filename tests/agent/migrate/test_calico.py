"""Calico: pools, Felix, BGP and what else there is become ours, are needless, or are told."""

from typing import Any

import pytest

from agent.migrate.calico import migrate
from agent.migrate.calico_environment import ROWS
from agent.migrate.calico_felix_table import FELIX
from agent.migrate.calico_table import KINDS, POOL
from agent.migrate.report import Migration
from agent.migrate.table import Row
from tests.agent.migrate.inputs import calico, config_map, daemon, found, missing, node, settings

NODE = node("10.244.1.0/24")
BASE = {
    "cidr": "10.244.0.0/16",
    "blockSize": 26,
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "natOutgoing": True,
}


def with_pool(*items: object, **spec: Any) -> Migration:
    return migrate(found(NODE, calico("IPPool", "default", BASE | spec), *items))


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        pytest.param(
            {"ipipMode": "Always", "vxlanMode": "Never"}, {"encapsulation": "ipip", "cross-subnet": "off"}, id="IPIP"
        ),
        pytest.param(
            {"ipipMode": "CrossSubnet"}, {"encapsulation": "ipip", "cross-subnet": "on"}, id="IPIP across subnets"
        ),
        pytest.param(
            {"vxlanMode": "Always"},
            {"encapsulation": "vxlan", "cross-subnet": "off", "tunnel-port": "4789", "tunnel-vni": "4096"},
            id="VXLAN",
        ),
        pytest.param({}, {"encapsulation": "native"}, id="no overlay"),
        pytest.param(
            {"natOutgoing": False}, {"encapsulation": "native", "masquerade": "off"}, id="pods go outside as they are"
        ),
    ],
)
def test_pools(spec: dict[str, Any], wanted: dict[str, str]) -> None:
    given = with_pool(**spec)
    assert settings(given) == {"masquerade": "on"} | wanted
    assert given.is_whole


@pytest.mark.parametrize(
    "spec",
    [
        {"cidr": "10.9.0.0/16"},
        {"nodeSelector": "zone == 'a'"},
        {"namespaceSelector": "x == 'y'"},
        {"assignmentMode": "Manual"},
        {"ofALaterVersion": 1},
    ],
)
def test_what_pools_say_and_we_lack_is_told(spec: dict[str, Any]) -> None:
    assert len(missing(with_pool(**spec))) == 1


def test_two_pools_that_differ_are_told() -> None:
    other = calico("IPPool", "other", BASE | {"vxlanMode": "Always"})
    assert any("already" in line for line in missing(with_pool(other, ipipMode="Always")))


def test_a_pool_for_load_balancers_is_a_pool_of_ours() -> None:
    balancers = calico("IPPool", "lb", {"cidr": "203.0.113.0/28", "allowedUses": ["LoadBalancer"]})
    given = with_pool(balancers)
    assert [(one["kind"], one["spec"]) for one in given.objects] == [
        ("LoadBalancerPool", {"cidrs": ["203.0.113.0/28"]})
    ]
    assert settings(given)["loadbalancer-pools"] == "on"
    assert given.is_whole


def test_a_disabled_pool_asks_for_nothing() -> None:
    assert with_pool(calico("IPPool", "old", {"cidr": "10.9.0.0/16", "ipipMode": "Always", "disabled": True})).is_whole


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        pytest.param({"logSeverityScreen": "Warning"}, {"log-level": "warning"}, id="the log"),
        pytest.param({"bpfConnectTimeLoadBalancing": "Disabled"}, {"socket-lb": "off"}, id="no socket hooks"),
        pytest.param({"bpfExternalServiceMode": "DSR"}, {"forwarding": "dsr"}, id="DSR"),
        pytest.param({"prometheusMetricsEnabled": False}, {}, id="no metrics"),
        pytest.param({"vxlanVNI": 7}, {}, id="a VNI without VXLAN"),
    ],
)
def test_felix(spec: dict[str, Any], wanted: dict[str, str]) -> None:
    given = with_pool(calico("FelixConfiguration", "default", spec))
    assert settings(given) == {"masquerade": "on", "encapsulation": "native"} | wanted
    assert given.is_whole


def test_felix_says_the_tunnels_numbers() -> None:
    given = with_pool(calico("FelixConfiguration", "default", {"vxlanVNI": 7, "vxlanPort": 8472}), vxlanMode="Always")
    assert {name: settings(given)[name] for name in ("tunnel-port", "tunnel-vni")} == {
        "tunnel-port": "8472",
        "tunnel-vni": "7",
    }


def test_metrics_have_other_names() -> None:
    given = with_pool(
        calico("FelixConfiguration", "default", {"prometheusMetricsEnabled": True, "prometheusMetricsPort": 9099})
    )
    assert settings(given)["listen"] == "[::]:9099"
    assert len(missing(given)) == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"wireguardEnabled": True},
        {"floatingIPs": "Enabled"},
        {"natPortRange": "1:2"},
        {"defaultEndpointToHostAction": "Drop"},
        {"ofALaterVersion": True},
        {"logSeverityScreen": "Loud"},
    ],
)
def test_what_felix_says_and_we_lack_is_told(spec: dict[str, Any]) -> None:
    assert len(missing(with_pool(calico("FelixConfiguration", "default", spec)))) == 1


def test_felix_of_one_node_is_told() -> None:
    assert len(missing(with_pool(calico("FelixConfiguration", "node.n1", {"bpfEnabled": True})))) == 1


@pytest.mark.parametrize(("kind", "rows"), [("IPPool", POOL), ("FelixConfiguration", FELIX)])
def test_every_field_is_told(kind: str, rows: tuple[Row, ...]) -> None:
    for row in rows:
        spec = {row.name: [] if row.name == "allowedUses" else "x"}
        told = migrate(found(NODE, calico(kind, "default", spec))).findings
        assert any(f"spec.{row.name}=" in one.field for one in told), row.name


@pytest.mark.parametrize(
    "row",
    [row for row in KINDS if row.name not in {"IPPool", "FelixConfiguration", "BGPConfiguration", "BGPFilter"}],
    ids=lambda row: row.name,
)
def test_every_kind_is_told(row: Row) -> None:
    item = calico(row.name, "x", {"selector": "all()"}, namespace="a")
    assert any(one.source.startswith(row.name) for one in with_pool(item).findings)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Profile", "kns.web"), ("Tier", "default"), ("ClusterInformation", "default"), ("IPAMBlock", "x")],
)
def test_calicos_own_objects_are_needless(kind: str, name: str) -> None:
    assert with_pool(calico(kind, name, {})).is_whole


@pytest.mark.parametrize(
    "kind", ["HostEndpoint", "BGPPeer", "GlobalNetworkSet", "StagedGlobalNetworkPolicy", "OfALaterVersion"]
)
def test_kinds_that_we_lack_are_told(kind: str) -> None:
    assert len(missing(with_pool(calico(kind, "x", {})))) == 1


def test_the_environment_is_looked_through() -> None:
    env = {row.name: "x" for row in ROWS} | {"OTHER": "1"}
    given = with_pool(daemon("calico-node", "docker.io/calico/node:v3.31.0", env=env))
    assert {one.field.partition("=")[0] for one in given.findings} >= env.keys()


def test_without_pools_it_says_so() -> None:
    assert missing(migrate(found(NODE)))


IMAGE = "quay.io/calico/node:v3.31.0"
# what the operator gives calico-node beside what the manifest does; Felix takes any field of its configuration so
OPERATORS = {
    "NAMESPACE": "calico-system",
    "FELIX_HEALTHPORT": "9099",
    "FELIX_TYPHACAFILE": "/etc/pki/tls/certs/tigera-ca-bundle.crt",
    "FELIX_TYPHACERTFILE": "/node-certs/tls.crt",
    "FELIX_TYPHAKEYFILE": "/node-certs/tls.key",
    "FELIX_TYPHACN": "typha-server",
    "FELIX_BPFENABLED": "false",
    "FELIX_ROUTETABLERANGE": "65-99",
}


def test_the_operators_variables_are_known() -> None:
    assert missing(with_pool(daemon("calico-node", IMAGE, env=OPERATORS))) == []


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        pytest.param({"FELIX_LOGSEVERITYSCREEN": "Debug"}, {"log-level": "debug"}, id="a field of Felix'"),
        pytest.param(
            {"FELIX_VXLANPORT": "8472", "FELIX_VXLANVNI": "7"},
            {"tunnel-port": "8472", "tunnel-vni": "7"},
            id="the tunnel's numbers",
        ),
        pytest.param(
            {"FELIX_PROMETHEUSMETRICSENABLED": "true", "FELIX_PROMETHEUSMETRICSPORT": "9099"},
            {"listen": "[::]:9099"},
            id="metrics",
        ),
    ],
)
def test_felix_variables_go_before_its_configuration(env: dict[str, str], wanted: dict[str, str]) -> None:
    felix = calico("FelixConfiguration", "default", {"logSeverityScreen": "Info", "vxlanVNI": 9})
    given = with_pool(felix, daemon("calico-node", IMAGE, env=env), vxlanMode="Always")
    assert settings(given).items() >= wanted.items()


def test_felix_variables_that_we_lack_are_told() -> None:
    env = {"FELIX_WIREGUARDENABLED": "true", "FELIX_OFALATERVERSION": "1"}
    assert len(missing(with_pool(daemon("calico-node", IMAGE, env=env)))) == 2


def test_a_variable_is_read_where_a_config_map_has_it() -> None:
    calicos = daemon("calico-node", IMAGE)
    container = calicos["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [
        {"name": "FELIX_LOGSEVERITYSCREEN", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}
    ]
    container["envFrom"] = [{"configMapRef": {"name": "endpoint"}}]
    where = {"KUBERNETES-SERVICE-HOST": "192.0.2.10", "KUBERNETES-SERVICE-PORT": "6443"}
    endpoint = config_map("endpoint") | {"data": {name.replace("-", "_"): text for name, text in where.items()}}
    given = with_pool(calicos, config_map("settings", level="Debug"), endpoint)
    assert settings(given).items() >= {"log-level": "debug", "api-server": "https://192.0.2.10:6443"}.items()
    assert given.is_whole


def test_the_api_servers_own_service_is_no_way_to_it_without_kube_proxy() -> None:
    api = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}}
    api["spec"] = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}
    env = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    given = with_pool(daemon("calico-node", IMAGE, env=env), api)
    assert "api-server" not in settings(given)
    assert any("10.96.0.1" in line for line in missing(given))
