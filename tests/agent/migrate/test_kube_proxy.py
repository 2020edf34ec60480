"""kube-proxy: every field and flag becomes ours, is needless, or is told."""

from typing import Any

import pytest
import yaml

from agent.migrate.kube_proxy import migrate
from agent.migrate.kube_proxy_table import FIELDS, FLAG_FIELDS, FLAGS, SWITCHES, WHOLE
from agent.migrate.report import Migration
from agent.migrate.table import Row, index
from tests.agent.migrate.inputs import config_map, daemon, found, missing, settings

KUBEADM = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null,
   udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs:
  {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s,
   tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""


def with_conf(conf: str | dict[str, Any], *args: str) -> Migration:
    text = conf if isinstance(conf, str) else yaml.safe_dump(conf)
    items = (
        config_map("kube-proxy", config__conf=text, kubeconfig__conf="x"),
        daemon("kube-proxy", "registry.k8s.io/kube-proxy:v1.34.1", args),
    )
    return migrate(found(*items))


def test_kubeadms_own_configuration_has_a_counterpart_whole() -> None:
    given = with_conf(KUBEADM, "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)")
    assert given.is_whole, missing(given)
    assert settings(given) == {"masquerade-all": "off"}


@pytest.mark.parametrize(
    ("conf", "wanted"),
    [
        pytest.param(
            {"nodePortAddresses": ["192.0.2.0/24", "fd00::/8"]},
            {"nodeport-addresses": "192.0.2.0/24,fd00::/8"},
            id="node ports at ranges",
        ),
        pytest.param(
            {"nodePortAddresses": ["primary"]}, {"nodeport-addresses": "primary"}, id="at the primary address"
        ),
        pytest.param({"nodePortAddresses": ["all"]}, {}, id="at all"),
        pytest.param({"iptables": {"masqueradeAll": True}}, {"masquerade-all": "on"}, id="pods are hidden"),
        pytest.param(
            {"healthzBindAddress": "127.0.0.1:10256"}, {"healthz-bind-address": "127.0.0.1:10256"}, id="health"
        ),
        pytest.param({"hostnameOverride": "n7"}, {"node-name": "n7"}, id="the node's name"),
    ],
)
def test_fields_become_options(conf: dict[str, Any], wanted: dict[str, str]) -> None:
    given = with_conf(conf)
    assert settings(given) == wanted
    assert given.is_whole


@pytest.mark.parametrize(
    "conf",
    [
        {"ipvs": {"scheduler": "wrr"}},
        {"iptables": {"localhostNodePorts": False}},
        {"conntrack": {"udpTimeout": "10s"}},
        {"metricsBindAddress": "0.0.0.0:10249"},
        {"featureGates": {"X": True}},
        {"ofALaterVersion": {"x": 1}},
    ],
)
def test_what_we_lack_is_told(conf: dict[str, Any]) -> None:
    assert len(missing(with_conf(conf))) == 1


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)
def test_every_field_is_told(row: Row) -> None:
    conf: Any = {"x": 1} if row.name in WHOLE else 7
    for step in reversed(row.name.split(".")):
        conf = {step: conf}
    assert any(one.field.startswith(row.name) for one in with_conf(conf).findings)


@pytest.mark.parametrize("flag", sorted([*FLAG_FIELDS, *index(FLAGS)]))
def test_every_flag_is_told(flag: str) -> None:
    given = with_conf({}, f"--{flag}=true" if flag in SWITCHES else f"--{flag}=7")
    assert any(one.field.startswith(f"--{flag}=") for one in given.findings)
    assert not any("known here" in line for line in missing(given))


def test_flags_of_a_later_version_are_told() -> None:
    assert len(missing(with_conf({}, "--of-a-later-version=1", "--nodeport-addresses=192.0.2.0/24"))) == 1


def test_without_anything_it_says_so() -> None:
    assert missing(migrate(found()))
