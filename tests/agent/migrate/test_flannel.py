"""flannel: net-conf.json, flags and annotations become ours, are needless, or are told."""

import json
from typing import Any

import pytest

from agent.migrate.flannel import migrate
from agent.migrate.flannel_table import ANNOTATIONS, FLAGS, NET_CONF, PREFIX, SWITCHES
from agent.migrate.report import Migration
from agent.migrate.table import Row
from tests.agent.migrate.inputs import config_map, daemon, found, missing, node, settings

IMAGE = "ghcr.io/flannel-io/flannel:v0.27.4"
ARGS = ["--ip-masq", "--kube-subnet-mgr"]
CNI = """{"name": "cbr0", "plugins": [
  {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}}, {"type": "portmap"}]}"""
OTHERS = {"network-policy": "off", "service-proxy": "off"}


def with_conf(conf: dict[str, Any], args: list[str] | None = None, cni: str = CNI, **env: str) -> Migration:
    config = config_map("kube-flannel-cfg", net_conf__json=json.dumps(conf), cni_conf__json=cni)
    return migrate(found(config, daemon("kube-flannel", IMAGE, ARGS if args is None else args, env=env)))


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        pytest.param({"Type": "vxlan"}, {"encapsulation": "vxlan"}, id="vxlan"),
        pytest.param(
            {"Type": "vxlan", "VNI": 7, "Port": 4789, "DirectRouting": True},
            {"encapsulation": "vxlan", "tunnel-vni": "7", "tunnel-port": "4789", "cross-subnet": "on"},
            id="vxlan, all of it",
        ),
        pytest.param({"Type": "host-gw"}, {"encapsulation": "native"}, id="host-gw"),
        pytest.param(
            {"Type": "ipip", "DirectRouting": False}, {"encapsulation": "ipip", "cross-subnet": "off"}, id="ipip"
        ),
    ],
)
def test_backends_that_we_have(backend: dict[str, Any], wanted: dict[str, str]) -> None:
    given = with_conf({"Network": "10.244.0.0/16", "EnableNFTables": False, "Backend": backend})
    assert settings(given) == wanted | {"masquerade": "on"} | OTHERS
    assert given.is_whole


@pytest.mark.parametrize("backend", ["udp", "wireguard", "ipsec", "alloc", "extension", "tencent-vpc"])
def test_backends_that_we_lack_are_told(backend: str) -> None:
    assert missing(with_conf({"Backend": {"Type": backend}}))


@pytest.mark.parametrize("row", NET_CONF, ids=lambda row: row.name)
def test_every_field_is_told(row: Row) -> None:
    conf: dict[str, Any] = {"Backend": {"Type": "vxlan"}}
    target, _, name = row.name.rpartition(".")
    (conf[target] if target else conf)[name] = "vxlan" if name == "Type" else 7
    assert any(one.field.startswith(row.name) for one in with_conf(conf).findings)


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row.name)
def test_every_flag_is_told(row: Row) -> None:
    given = with_conf(
        {"Backend": {"Type": "vxlan"}}, [f"--{row.name}=true" if row.name in SWITCHES else f"--{row.name}=1"]
    )
    assert any(one.field.startswith(f"--{row.name}=") for one in given.findings)


@pytest.mark.parametrize("row", ANNOTATIONS, ids=lambda row: row.name)
def test_every_annotation_is_told(row: Row) -> None:
    given = migrate(found(node("10.244.1.0/24", **{f"{PREFIX}{row.name}": "x"}), daemon("kube-flannel", IMAGE, ARGS)))
    assert any(one.field.startswith(PREFIX + row.name) for one in given.findings)


def test_pods_were_not_masqueraded_without_the_flag() -> None:
    assert settings(with_conf({"Backend": {"Type": "vxlan"}}, ["--kube-subnet-mgr"]))["masquerade"] == "off"


@pytest.mark.parametrize(
    ("args", "env", "wanted"),
    [
        pytest.param([*ARGS, "--iface=eth1"], {}, {"devices": "eth1"}, id="a device"),
        pytest.param(
            ARGS,
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
            {"api-server": "https://[fd00::1]:6443"},
            id="the API server",
        ),
        pytest.param(
            ["--kube-subnet-mgr"], {"FLANNELD_IP_MASQ": "true"}, {"masquerade": "on"}, id="a flag in the environment"
        ),
    ],
)
def test_flags(args: list[str], env: dict[str, str], wanted: dict[str, str]) -> None:
    given = with_conf({"Backend": {"Type": "vxlan"}}, args, **env)
    assert settings(given).items() >= wanted.items()
    assert given.is_whole


@pytest.mark.parametrize(
    "flag",
    [
        "--iface=192.0.2.1",
        "--iface-regex=eth.*",
        "--etcd-endpoints=http://x",
        "--public-ip=1.2.3.4",
        "--of-a-later-version",
        "word",
    ],
)
def test_flags_that_we_lack_are_told(flag: str) -> None:
    assert len(missing(with_conf({"Backend": {"Type": "vxlan"}}, [*ARGS, flag]))) == 1


def test_leases_in_etcd_are_told() -> None:
    assert missing(with_conf({"Backend": {"Type": "vxlan"}}, ["--ip-masq"]))


def test_the_psk_is_not_shown() -> None:
    assert "geheim" not in str(with_conf({"Backend": {"Type": "wireguard", "PSK": "geheim"}}).findings)


@pytest.mark.parametrize("plugin", [{"type": "tuning"}, {"type": "flannel", "delegate": {"promiscMode": True}}])
def test_other_plugins_are_told(plugin: dict[str, Any]) -> None:
    assert missing(with_conf({"Backend": {"Type": "vxlan"}}, cni=json.dumps({"plugins": [plugin]})))


def test_k3s_says_its_backend_on_its_nodes() -> None:
    said = {f"{PREFIX}backend-type": "host-gw", f"{PREFIX}public-ip": "192.0.2.1", f"{PREFIX}backend-data": "null"}
    given = migrate(found(node("10.42.0.0/24", **said)))
    assert settings(given)["encapsulation"] == "native"
    assert [line.partition(":")[0] for line in missing(given)] == ["DaemonSet kube-flannel-ds"]


def test_a_node_that_is_reached_elsewhere_is_told() -> None:
    said = {f"{PREFIX}backend-type": "vxlan", f"{PREFIX}public-ip": "203.0.113.1"}
    assert len(missing(migrate(found(node("10.42.0.0/24", **said), daemon("kube-flannel", IMAGE, ARGS))))) == 1


def test_without_anything_it_says_so() -> None:
    assert len(missing(migrate(found()))) == 2


CANAL = {
    "typha_service_name": "none",
    "canal_iface": "",
    "masquerade": "false",
    "veth_mtu": "0",
    "cni_network_config": "{}",
    "net-conf.json": json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}),
}


def canal() -> list[dict[str, Any]]:
    """Calico's policy over flannel's network, as its manifest has them."""
    made = daemon("canal", "quay.io/calico/node:v3.31.0")
    refs = {"FLANNELD_IFACE": "canal_iface", "FLANNELD_IP_MASQ": "masquerade"}
    env = [
        {"name": name, "valueFrom": {"configMapKeyRef": {"name": "canal-config", "key": key}}}
        for name, key in refs.items()
    ]
    flanneld = {"name": "kube-flannel", "image": "quay.io/flannel/flannel:v0.24.4", "env": env, "args": ARGS[1:]}
    calicos = made["spec"]["template"]["spec"]["containers"][0] | {"name": "calico-node"}
    made["spec"]["template"]["spec"]["containers"] = [calicos, flanneld]
    return [config_map("canal-config") | {"data": CANAL}, made]


def test_canals_policies_stay_enforced_and_its_config_map_is_read() -> None:
    given = migrate(found(*canal()))
    assert settings(given).items() >= {"network-policy": "on", "masquerade": "off", "encapsulation": "vxlan"}.items()
    assert missing(given) == []


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([daemon("policies", "registry.k8s.io/networking/kube-network-policies:v0.7.0")], id="beside it"),
        pytest.param([node("10.42.0.0/24", **{"k3s.io/hostname": "n1"})], id="in k3s"),
    ],
)
def test_where_somebody_enforces_policies_the_agent_does(items: list[dict[str, Any]]) -> None:
    assert settings(migrate(found(daemon("kube-flannel", IMAGE, ARGS), *items)))["network-policy"] == "on"


def test_where_k3s_is_told_to_enforce_none_nobody_does() -> None:
    args = '["server","--disable-network-policy","--disable","servicelb"]'
    server = node("10.42.0.0/24", **{"k3s.io/hostname": "n1", "k3s.io/node-args": args})
    assert settings(migrate(found(server)))["network-policy"] == "off"
