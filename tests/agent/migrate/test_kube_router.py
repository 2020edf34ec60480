"""kube-router: every flag and annotation becomes ours, is needless, or is told."""

import pytest

from agent.migrate.kube_router import migrate
from agent.migrate.kube_router_annotations import NODE, SERVICE
from agent.migrate.kube_router_flags import FLAGS, SWITCHES
from agent.migrate.report import Migration, Outcome
from agent.migrate.table import Row
from tests.agent.migrate.inputs import config_map, daemon, found, missing, node, outcomes, settings

IMAGE = "docker.io/cloudnativelabs/kube-router:v2.11.0"
CNI = """{"cniVersion": "0.3.0", "name": "mynet", "plugins": [
  {"name": "kubernetes", "type": "bridge", "bridge": "kube-bridge", "isDefaultGateway": true, "hairpinMode": true,
   "mtu": 1450, "ipam": {"type": "host-local"}},
  {"type": "portmap", "capabilities": {"snat": true, "portMappings": true}}]}"""
DEFAULTS = {
    "network": "own",
    "network-policy": "on",
    "policy-reject": "on",
    "service-proxy": "on",
    "encapsulation": "ipip",
    "cross-subnet": "on",
    "nodeport-addresses": "primary",
    "strict-external-ip-validation": "on",
}


def with_flags(*flags: str, image: str = IMAGE) -> Migration:
    return migrate(found(daemon("kube-router", image, flags), config_map("kube-router-cfg", cni_conf__json=CNI)))


def test_without_a_flag_kube_routers_own_defaults_hold() -> None:
    assert settings(with_flags()) == DEFAULTS


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        pytest.param(
            ["--run-router=false"],
            {"network": "chained", "encapsulation": None, "cross-subnet": None},
            id="another plugin's network",
        ),
        pytest.param(
            ["--run-router=false", "--run-service-proxy=false"],
            {
                "network": "chained",
                "service-proxy": None,
                "encapsulation": None,
                "cross-subnet": None,
                "nodeport-addresses": None,
                "strict-external-ip-validation": None,
            },
            id="the firewall alone: pods are served by the default of chained, so that policy sees backends",
        ),
        pytest.param(["--run-firewall=false"], {"network-policy": "off", "policy-reject": None}, id="no policy"),
        pytest.param(
            ["--run-service-proxy=false"],
            {"service-proxy": "off", "nodeport-addresses": None, "strict-external-ip-validation": None},
            id="kube-proxy serves",
        ),
        pytest.param(["--run-loadbalancer"], {"loadbalancer-pools": "on"}, id="a switch without a value is true"),
        pytest.param(["--kubeconfig", "/etc/kc"], {"kubeconfig": "/etc/kc"}, id="a value in the next word"),
        pytest.param(["--master=https://10.0.0.1:6443"], {"api-server": "https://10.0.0.1:6443"}, id="the API server"),
        pytest.param(["--hostname-override=n7"], {"node-name": "n7"}, id="the node's name"),
        pytest.param(["--hostname-override=$(NODE_NAME)"], {}, id="the node's name from its field is read anyway"),
        pytest.param(["-v", "3"], {"log-level": "debug"}, id="more log"),
        pytest.param(["--enable-cni=false"], {"install-cni": "off"}, id="no CNI configuration"),
        pytest.param(["--auto-mtu=false"], {"mtu": "1450"}, id="the CNI configuration's MTU"),
        pytest.param(["--enable-overlay=false"], {"encapsulation": "native", "cross-subnet": None}, id="no overlay"),
        pytest.param(["--overlay-type=full"], {"cross-subnet": None}, id="an overlay to all nodes"),
        pytest.param(["--overlay-encap=fou"], {"encapsulation": "vxlan"}, id="FOU: the nearest"),
        pytest.param(["--enable-pod-egress=false"], {"masquerade": "off"}, id="pods go outside as they are"),
        pytest.param(["--masquerade-all"], {"masquerade-all": "on"}, id="pods are hidden from backends"),
        pytest.param(["--hairpin-mode=true"], {"hairpin-mode": "on"}, id="hairpin"),
        pytest.param(["--nodeport-bindon-all-ip"], {"nodeport-addresses": None}, id="node ports at all addresses"),
        pytest.param(
            ["--service-cluster-ip-range=10.1.0.0/16", "--service-cluster-ip-range=fd00::/112"],
            {"service-cidrs": "10.1.0.0/16,fd00::/112"},
            id="a list that is given in parts",
        ),
        pytest.param(
            ["--service-external-ip-range=203.0.113.0/24"],
            {"service-external-ip-range": "203.0.113.0/24"},
            id="external addresses",
        ),
        pytest.param(["--service-node-port-range=30000:31000"], {"node-port-range": "30000-31000"}, id="node ports"),
        pytest.param(
            ["--strict-external-ip-validation=false"], {"strict-external-ip-validation": "off"}, id="not strict"
        ),
        pytest.param(
            ["--peer-router-ips=10.0.0.1,10.0.0.2", "--peer-router-asns=64600,64601", "--cluster-asn=65001"],
            {
                "router": "on",
                "peer-router-ips": "10.0.0.1,10.0.0.2",
                "peer-router-asns": "64600,64601",
                "cluster-asn": "65001",
            },
            id="peers by BGP",
        ),
        pytest.param(
            ["--bgp-holdtime=1m0s", "--enable-bfd", "--advertise-cluster-ip", "--override-nexthop=false"],
            {"bgp-holdtime": "60", "enable-bfd": "on", "advertise-cluster-ip": "on", "override-nexthop": "off"},
            id="how BGP is spoken",
        ),
        pytest.param(["--netpol-default-deny"], {"netpol-default-deny": "on"}, id="denied until known"),
        pytest.param(
            ["--loadbalancer-ip-range=192.0.2.0/28"],
            {"loadbalancer-ip-range": "192.0.2.0/28"},
            id="balancers' addresses",
        ),
        pytest.param(["--metrics-port=8080"], {"listen": "[::]:8080"}, id="metrics everywhere"),
        pytest.param(
            ["--metrics-port=8080", "--metrics-addr=127.0.0.1"],
            {"listen": "127.0.0.1:8080"},
            id="metrics at an address",
        ),
    ],
)
def test_flags_become_options(flags: list[str], changed: dict[str, str | None]) -> None:
    wanted = {name: value for name, value in (DEFAULTS | changed).items() if value is not None}
    assert settings(with_flags(*flags)) == wanted


def test_versions_before_the_strict_check_served_every_external_address() -> None:
    assert "strict-external-ip-validation" not in settings(with_flags(image="cloudnativelabs/kube-router:v2.5.0"))


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row.name)
def test_no_flag_is_left_out_in_silence(row: Row) -> None:
    name = row.name
    given = with_flags(f"--{name}=true" if name in SWITCHES else f"--{name}=1")
    told = [one for one in given.findings if f"--{name}=" in one.field and "its default" not in one.field]
    assert told, name


@pytest.mark.parametrize(
    "flag",
    [
        "--peer-router-passwords=c2VjcmV0",
        "--bfd-port=4784",
        "--bgp-holdtime=1ms",
        "--ipvs-permit-all=false",
        "--overlay-encap=fou",
        "--service-tcp-timeout=30s",
        "--loadbalancer-default-class=false",
        "--enable-pprof",
        "--of-a-later-version=1",
        "--metrics-port=8080",
        "--health-port=9999",
        "argument",
        "--master=http://10.0.0.1:8080",
    ],
)
def test_what_we_lack_is_told(flag: str) -> None:
    assert len(missing(with_flags(flag))) == 1


@pytest.mark.parametrize(
    "flag", ["--advertise-cluster-ip=false", "--cluster-asn=64512", "--peer-router-ips=", "--bgp-port=179"]
)
def test_values_that_ask_for_nothing_are_needless(flag: str) -> None:
    given = with_flags(flag)
    assert given.is_whole
    assert outcomes(given, flag) == {Outcome.NEEDLESS}


def test_passwords_are_not_shown() -> None:
    told = "".join(map(str, with_flags("--peer-router-passwords=c2VjcmV0").findings))
    assert "(not shown)" in told
    assert "c2VjcmV0" not in told


def test_the_allocators_range_becomes_a_pool() -> None:
    given = with_flags(
        "--run-loadbalancer", "--loadbalancer-ip-range=192.0.2.0/28", "--loadbalancer-ip-range=2001:db8::/120"
    )
    assert [one["spec"] for one in given.objects] == [{"cidrs": ["192.0.2.0/28", "2001:db8::/120"]}]
    assert given.objects[0]["kind"] == "LoadBalancerPool"


@pytest.mark.parametrize("row", NODE, ids=lambda row: row.name)
def test_every_annotation_of_a_node_is_told(row: Row) -> None:
    name = row.name
    given = migrate(found(daemon("kube-router", IMAGE), node("10.0.1.0/24", **{name: "10.9.0.0/16"})))
    told = [one for one in given.findings if name in one.field]
    assert told
    assert (told[-1].outcome is Outcome.MISSING) is name.startswith("kube-router.io/pod-cidr")


def test_a_pod_cidr_that_the_node_has_anyway_is_needless() -> None:
    same = {"kube-router.io/pod-cidrs": "10.0.1.0/24,fd00:1::/64"}
    assert migrate(
        found(daemon("kube-router", IMAGE, ["--enable-ipv6"]), node("10.0.1.0/24", "fd00:1::/64", **same))
    ).is_whole


def test_a_family_that_was_off_and_has_pod_cidrs_is_told() -> None:
    given = migrate(found(daemon("kube-router", IMAGE), node("10.0.1.0/24", "fd00:1::/64")))
    assert len(missing(given)) == 1
    assert "--enable-ipv6=false" in missing(given)[0]


ON_SERVICES = (
    ("service.dsr", "tunnel", True),
    ("service.dsr", "yes", False),
    ("service.scheduler", "lc", True),
    ("service.scheduler", "wrr", False),
    ("service.schedflags", "flag-1,flag-2", True),
    ("service.schedflags", "flag-9", False),
    ("service.hairpin", "", True),
    ("service.hairpin.externalips", "", True),
    ("service.local", "true", True),
    ("service.local", "false", True),
    ("service.local", "yes", False),
    ("service.advertise.clusterip", "true", True),
    ("service.advertise.clusterip", "false", True),
    ("service.advertise.externalip", "true", True),
    ("service.advertise.loadbalancerip", "true", True),
    ("service.skiplbips", "", True),
    ("service.of-a-later-version", "", False),
)


@pytest.mark.parametrize(("annotation", "value", "is_read"), ON_SERVICES)
def test_annotations_of_a_service(annotation: str, value: str, *, is_read: bool) -> None:
    name = f"kube-router.io/{annotation}"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {name: value}},
    }
    given = migrate(found(daemon("kube-router", IMAGE), service))
    assert given.is_whole is is_read
    assert any(one.field.startswith(name) for one in given.findings)


def test_every_annotation_of_a_service_is_tried_above() -> None:
    tried = {name for name, _, _ in ON_SERVICES}
    assert {f"kube-router.io/{name}" for name in tried} >= {row.name for row in SERVICE}


@pytest.mark.parametrize(
    ("labels", "spec", "is_whole"),
    [
        pytest.param(
            {"service.kubernetes.io/service-proxy-name": "kube-router"},
            {},
            False,
            id="kube-router's own label keeps us off",
        ),
        pytest.param(
            {"service.kubernetes.io/service-proxy-name": "other"},
            {},
            True,
            id="another proxy's Service is nobody's here too",
        ),
        pytest.param({}, {"loadBalancerClass": "kube-router"}, False, id="its class"),
        pytest.param({}, {"loadBalancerClass": "other"}, True, id="another's class"),
    ],
)
def test_labels_and_classes(labels: dict[str, str], spec: dict[str, str], *, is_whole: bool) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": labels}, "spec": spec}
    assert migrate(found(daemon("kube-router", IMAGE), service)).is_whole is is_whole


def test_the_cni_configuration_is_looked_through() -> None:
    other = '{"plugins": [{"type": "bridge", "vlan": 7}, {"type": "tuning"}]}'
    given = migrate(
        found(daemon("kube-router", IMAGE), config_map("kube-router-cfg", cni_conf__json=other, kubeconfig="x"))
    )
    assert [line.split(":")[0] for line in missing(given)] == ["bridge.vlan=7", "plugin tuning", "kubeconfig"]


def test_the_environment_is_looked_through() -> None:
    env = {
        "KUBE_ROUTER_CNI_CONF_FILE": "/etc/kr/10.conflist",
        "HOST_BIN_PATH": "/usr/bin/cni",
        "HTTPS_PROXY": "http://p",
        "OTHER": "1",
    }
    given = migrate(found(daemon("kube-router", IMAGE, env=env)))
    assert settings(given) == DEFAULTS | {"cni-conf-dir": "/etc/kr", "cni-bin-dir": "/usr/bin/cni"}
    assert len(missing(given)) == 2


def test_without_the_daemonset_it_says_so() -> None:
    assert missing(migrate(found(node("10.0.1.0/24"))))
