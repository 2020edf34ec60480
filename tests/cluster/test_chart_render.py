"""What Helm makes of the chart: without a cluster, but Helm is compiled with the cluster's programs."""

import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.devices.options import DeviceOptions
from agent.errors import ConfigError
from agent.migrate.command import main
from agent.options.origins import load
from deploy.build import manifests
from deploy.build.chart import CHART
from lab.kubernetes import build
from tests.agent.migrate.inputs import daemon

pytestmark = pytest.mark.cluster
PEERS = "options.peer-router-ips={192.0.2.1,192.0.2.2},options.peer-router-asns={64512,4200000000}"


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program."""
    return build.helm(print)


def test_the_manifests_and_the_tests_renders_are_of_this_chart(helm: Path) -> None:
    differing = [path.name for path, text in manifests.rendered(helm).items() if path.read_text() != text]
    assert not differing, "run `make manifests`, and look at what differs"


def test_helm_has_nothing_to_say_of_the_chart(helm: Path) -> None:
    said = manifests.run(helm, "lint", str(CHART), "--strict", "--quiet")
    assert (said.returncode, said.stdout.strip()) == (0, "")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        pytest.param("options.xdp=fast", "'/options/xdp': value must be one of 'auto', 'native'", id="a word"),
        pytest.param("options.masquerade=maybe", "value must be one of true, false, 'on', 'off'", id="a switch"),
        pytest.param("options.max-flows=-1", "'/options/max-flows': minimum: got -1, want 0", id="a number"),
        pytest.param("options.mtu=1279", "'/options/mtu': minimum: got 1,279, want 1,280", id="an MTU"),
        pytest.param("options.service-cidrs=everything", "does not match pattern", id="a range of addresses"),
        pytest.param(
            "options.state-dir=state", "'/options/state-dir': 'state' does not match pattern", id="a relative path"
        ),
        pytest.param("options.api-server=192.0.2.10:6443", "'/options/api-server'", id="a server without https"),
        pytest.param("options.listen=9650", "'/options/listen': got number, want null or string", id="a port alone"),
        pytest.param("options.encapsulaton=vxlan", "additional properties 'encapsulaton' not allowed", id="no option"),
        pytest.param("options.node-name=n1", "additional properties 'node-name' not allowed", id="one name for all"),
        pytest.param("image=null", "missing property 'image'", id="a section without which there is nothing"),
        pytest.param("image.pullPolicy=never", "value must be one of 'Always', 'IfNotPresent'", id="a pull policy"),
        pytest.param("updateStrategy.rollingUpdate.maxUnavailable=0", "minimum: got 0, want 1", id="no update at all"),
        pytest.param("devicePlugin.config.resourceList={x}", "got string, want object", id="a resource that is a text"),
        pytest.param("devicePlugin.listen=9651", "'/devicePlugin/listen': got number", id="another port alone"),
        pytest.param("options.service-proxy=pods", "pods is for options.network=chained", id="a part of our network"),
        pytest.param(
            "options.replace-kube-proxy=true,options.service-proxy=off",
            "kube-proxy serves whom the agents do not",
            id="rules of a kube-proxy that is to serve",
        ),
        pytest.param("metrics.podMonitor.enabled=true", "give options.listen", id="metrics that nobody reaches"),
        pytest.param("metrics.podMonitor=null", "missing property 'podMonitor'", id="a part without which"),
        pytest.param("devicePlugin.kubeletDir=null", "missing property 'kubeletDir'", id="a folder that is nowhere"),
        pytest.param(
            "securityContext.capabilities=null,options.l2-announce=true",
            "missing property 'capabilities'",
            id="capabilities that another option is to add to",
        ),
        pytest.param(
            "image.repository=registry.example/sluiceway:0.1.0",
            "'/image/repository': 'registry.example/sluiceway:0.1.0' does not match",
            id="a repository with its tag",
        ),
        pytest.param(
            "podLabels.app\\.kubernetes\\.io/name=x", "is the chart's own, by which", id="a label that finds the agents"
        ),
        pytest.param("updateStrategy.rollingUpdate.maxUnavailable=0%", "does not match pattern", id="no part of all"),
        pytest.param("options.listen=0.0.0.0:65536", "'/options/listen'", id="a port that there is not"),
        pytest.param(
            "options.run-dir=/run/a: b", "'/options/run-dir': '/run/a: b' does not match", id="a path as YAML"
        ),
        pytest.param("options.run-dir=/", "'/options/run-dir': '/' does not match", id="all of the node as a folder"),
        pytest.param(
            "options.pin-root=/sys/fs/bpf",
            "options.pin-root: /sys/fs is no bpffs; give a folder in one, such as /sys/fs/bpf/sluiceway",
            id="a folder over which a bpffs would be mounted",
        ),
        pytest.param("metrics.prometheusRule.enabled=true", "set options.router", id="alerts of what is not there"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_installed(helm: Path, value: str, sentence: str) -> None:
    done = manifests.template(helm, "--set", value)
    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize("section", ["options", "affinity"])
def test_a_section_that_is_taken_out_is_one_without_values(helm: Path, section: str) -> None:
    done = manifests.template(helm, f"--set={section}=null")
    assert (done.returncode, done.stdout) == (0, manifests.template(helm).stdout), done.stderr


@pytest.mark.parametrize(
    ("values", "resources"),
    [
        pytest.param((), {"networkpolicies", "clusternetworkpolicies"}, id="policy"),
        pytest.param(("network-policy=false",), set(), id="no policy"),
        pytest.param(
            ("network-policy=off", "loadbalancer-pools=true"),
            {"loadbalancerpools", "loadbalancerpools/status", "services/status", "leases"},
            id="addresses of pools",
        ),
        pytest.param(
            ("network-policy=off", "router=true"),
            {
                *("bgppeers", "bgpfilters", "bgpconfigurations"),
                *("bgppeers/status", "bgpfilters/status", "bgpconfigurations/status"),
            },
            id="BGP",
        ),
        pytest.param(("network-policy=off", "l2-announce=external"), {"leases"}, id="announcing alone"),
    ],
)
def test_the_agents_have_rights_for_their_duties_alone(
    helm: Path, values: tuple[str, ...], resources: set[str]
) -> None:
    done = manifests.template(helm, "--no-hooks", *(f"--set=options.{value}" for value in values))
    rules = [rule for found in yaml.safe_load_all(done.stdout) for rule in found.get("rules", ())]
    always = {"services", "nodes", "pods", "namespaces", "endpointslices", "events"}
    assert {resource for rule in rules for resource in rule["resources"]} == always | resources


def test_a_config_map_of_ones_own_takes_the_place_of_the_charts(helm: Path) -> None:
    own = ("--set=devicePlugin.enabled=true", "--set=devicePlugin.configMap=sriovdp-config")
    found = [*yaml.safe_load_all(manifests.template(helm, *own, "--no-hooks").stdout)]
    assert "ConfigMap" not in {each["kind"] for each in found}
    [agents] = [each for each in found if each["kind"] == "DaemonSet"]
    spec = agents["spec"]["template"]["spec"]
    assert [container["name"] for container in spec["containers"]] == ["agent", "devices"]
    assert {"name": "device-config", "configMap": {"name": "sriovdp-config"}} in spec["volumes"]


def test_every_combination_of_duties_is_rendered_or_refused_as_the_agent_does(helm: Path) -> None:
    """Pod network, policy, Services, load balancers' addresses; by agent/options, which has its own test."""
    for network, policy, services, pools in product((True, False), repeat=4):
        flags = [
            f"network={'own' if network else 'chained'}",
            f"network-policy={str(policy).lower()}",
            f"service-proxy={'on' if services else 'off'}",
            f"loadbalancer-pools={str(pools).lower()}",
        ]
        done = manifests.template(helm, "--no-hooks", *(f"--set=options.{flag}" for flag in flags))
        if policy and not network and not services:
            assert "policy sees no backend that kube-proxy chooses; give pods" in done.stderr
            continue
        rules = [rule for found in yaml.safe_load_all(done.stdout) for rule in found.get("rules", ())]
        resources = {resource for rule in rules for resource in rule["resources"]}
        assert ("networkpolicies" in resources, "loadbalancerpools" in resources) == (policy, pools), flags
        assert f'--service-proxy={"on" if services else "off"}"' in done.stdout


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        pytest.param("options.masquerade=false", "--masquerade=off", id="a switch is off"),
        pytest.param("options.service-proxy=off", "--service-proxy=off", id="a word that is a switch too"),
        pytest.param("options.xdp=false", "--xdp=off", id="off, which YAML reads as false, of a word that is never on"),
        pytest.param("options.healthz-bind-address=off", "--healthz-bind-address=off", id="an address or off"),
        pytest.param("options.max-flows=10000000", "--max-flows=10000000", id="a number of seven digits and more"),
        pytest.param("options.service-cidrs={10.96.0.0/12,fd00::/108}", "10.96.0.0/12,fd00::/108", id="a list"),
        pytest.param(f"{PEERS},options.peer-router-ports={{179,1790}}", "64512,4200000000", id="a list of numbers"),
        pytest.param(
            f"{PEERS},options.peer-router-ports={{179,1790}}", "--peer-router-ports=179,1790", id="a list of ports"
        ),
        pytest.param("options.nodeport-addresses=primary", "--nodeport-addresses=primary", id="the primary addresses"),
    ],
)
def test_an_option_reaches_the_agent_and_the_cleanup_alike(helm: Path, value: str, flag: str) -> None:
    assert manifests.template(helm, "--set", value).stdout.count(f'{flag}"') == 2


@pytest.mark.parametrize(
    "given",
    [
        {"network": "chained", "encapsulation": "vxlan"},
        {"network": "chained", "cross-subnet": "on"},
        {"network": "chained", "mtu": "1400"},
        {"network": "chained", "mtu": "0", "encapsulation": "native"},
        {"network": "chained", "forwarding": "dsr"},
        {"network": "chained", "l2-announce": "on"},
        {"network": "chained", "l2-announce": "on", "service-proxy": "on"},
        {"tunnel-port": "4789"},
        {"tunnel-vni": "7", "encapsulation": "ipip"},
        {"tunnel-vni": "7", "encapsulation": "geneve"},
        {"xdp": "off", "xdp-deny-cidrs-file": "/etc/denied"},
        {"xdp": "generic", "xdp-deny-cidrs-file": "/etc/denied"},
        {"peer-router-ips": "192.0.2.1", "router": "on"},
        {"peer-router-ips": "192.0.2.1", "peer-router-asns": "64512", "router": "on"},
        {"node-port-range": "32767-30000"},
    ],
    ids=str,
)
def test_options_that_do_not_go_together_are_refused_as_the_agent_does(helm: Path, given: dict[str, str]) -> None:
    try:
        load(["run", "--kubeconfig=/k", *(f"--{name}={text}" for name, text in given.items())], {})
        refused = False
    except ConfigError:
        refused = True
    done = manifests.template(helm, "--set", ",".join(f"options.{name}={text}" for name, text in given.items()))
    assert (done.returncode != 0) == refused, done.stderr
    assert not refused or any(f"options.{name}: " in done.stderr for name in (*given, "peer-router-asns"))


def containers(text: str) -> dict[str, dict[str, Any]]:
    """The agent's, and the one that cleans up after it."""
    specs = [each["spec"]["template"]["spec"] for each in yaml.safe_load_all(text) if each["kind"] == "DaemonSet"]
    return {each["name"]: each for spec in specs for each in (*spec["containers"], *spec.get("initContainers", ()))}


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        pytest.param("", [], id="none, as metrics are at loopback"),
        pytest.param("options.listen=0.0.0.0:9999", [("metrics", 9999)], id="that of metrics, for Prometheus"),
        pytest.param("options.healthz-bind-address=0.0.0.0:9999,options.router=true", [], id="no other"),
    ],
)
def test_a_port_is_declared_where_no_other_may_have_it(helm: Path, values: str, ports: list[tuple[str, int]]) -> None:
    """Not kube-proxy's: where another's pod declares it, the agent's would wait until that has gone."""
    found = containers(manifests.template(helm, "--set", values).stdout)
    declared = [(each["name"], each["hostPort"]) for one in found.values() for each in one.get("ports", ())]
    assert declared == ports


def test_a_bpffs_is_mounted_where_there_is_none_and_hides_nothing(helm: Path, tmp_path: Path) -> None:
    """By the init container's own command, in a mount namespace."""
    command = containers(manifests.template(helm).stdout)["mount-bpffs"]["command"]
    folder = str(tmp_path)

    def run() -> subprocess.CompletedProcess[str]:
        twice = 'sh -c "$1" "$0" && sh -c "$1" "$0" && grep -c " $0 .* - bpf " /proc/self/mountinfo'
        argv = ["unshare", "--mount", "sh", "-c", twice, folder, command[2]]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (command[:2], command[3:]) == (["sh", "-c"], ["/sys/fs/bpf"])
    assert run().stdout == "1\n"
    (tmp_path / "cgroup").mkdir()  # as in /sys/fs
    done = run()
    assert (done.returncode != 0, "would be hidden by one; see options.pin-root" in done.stderr) == (True, True)


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("127.0.0.1:9650", "127.0.0.1"),
        ("0.0.0.0:9650", "127.0.0.1"),
        ("[::]:9650", "127.0.0.1"),  # which is there also where the kernel has no IPv6
        ("[::1]:9650", "::1"),
        ("192.0.2.1:9650", "192.0.2.1"),
    ],
)
def test_probes_ask_where_the_agent_listens(helm: Path, listen: str, host: str) -> None:
    agent = containers(manifests.template(helm, f"--set=options.listen={listen}").stdout)["agent"]
    assert {agent[f"{kind}Probe"]["httpGet"]["host"] for kind in ("startup", "liveness", "readiness")} == {host}


@pytest.mark.parametrize("option", ["networks", "router", "l2-announce"])
def test_who_cleans_up_may_do_what_the_agent_may(helm: Path, option: str) -> None:
    """Other plugins' interfaces are unmade by these plugins, in the node's root."""
    value = "external" if option == "l2-announce" else "true"
    found = containers(manifests.template(helm, f"--set=options.{option}={value}").stdout)
    assert found["cleanup"]["securityContext"] == found["agent"]["securityContext"]


@pytest.mark.parametrize("version", ["1.29.9", "1.30.0", "1.36.3"])
def test_no_security_module_keeps_a_container_from_the_nodes_folders(helm: Path, version: str) -> None:
    """The profiles that runtimes have for containers refuse writes below /sys/fs/bpf and /proc/sys."""
    options = ("--set=options.router=true", "--set=devicePlugin.enabled=true", f"--kube-version={version}")
    text = manifests.template(helm, *options).stdout
    found = containers(text)
    for name in ("agent", "devices", "bird", "cleanup"):
        context = found[name]["securityContext"]
        assert context["seLinuxOptions"] == {"type": "spc_t"}
        if version < "1.30":  # which refuses a field that it does not know
            assert "appArmorProfile" not in context
            assert text.count(f"container.apparmor.security.beta.kubernetes.io/{name}: unconfined\n") == 1
        else:
            assert context["appArmorProfile"] == {"type": "Unconfined"}
            assert "container.apparmor" not in text


@pytest.mark.parametrize(
    ("which", "item"),
    [
        pytest.param(
            "kube-router",
            daemon(
                "kube-router", "kube-router:v2.11.0", ["--run-loadbalancer", "--service-external-ip-range=192.0.2.0/28"]
            ),
            id="kube-router",
        ),
        pytest.param(
            "kube-proxy",
            daemon("kube-proxy", "kube-proxy:v1.36.3", ["--nodeport-addresses=192.0.2.0/24,2001:db8::/64"]),
            id="kube-proxy",
        ),
    ],
)
def test_what_import_prints_are_values_of_the_chart(
    helm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, item: dict[str, Any]
) -> None:
    there, values = tmp_path / "there.yaml", tmp_path / "values.yaml"
    there.write_text(yaml.safe_dump(item))
    main([which, "--from", str(there), "--objects", str(tmp_path / "objects"), "--format", "values"])
    values.write_text(capsys.readouterr().out)
    done = manifests.template(helm, "-f", str(values))
    assert done.returncode == 0, done.stderr
    args = containers(done.stdout)["agent"]["args"]
    options = yaml.safe_load(values.read_text())["options"]
    assert options
    assert {name for name in options if not any(each.startswith(f"--{name}=") for each in args)} == set()


def test_a_cleanup_that_was_left_behind_does_not_come_to_an_agents_node(helm: Path) -> None:
    wanted = {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
    }
    text = manifests.template(helm, f"--set-json=affinity.nodeAffinity={json.dumps(wanted)}").stdout
    agents, cleanup = (each["spec"] for each in yaml.safe_load_all(text) if each["kind"] == "DaemonSet")
    assert agents["template"]["spec"]["affinity"] == {"nodeAffinity": wanted}
    affinity = cleanup["template"]["spec"]["affinity"]
    [apart] = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert (apart["labelSelector"], apart["topologyKey"]) == (agents["selector"], "kubernetes.io/hostname")
    assert affinity["nodeAffinity"] == wanted


def test_the_cleanup_has_the_folders_in_which_the_device_plugin_leaves_files(helm: Path) -> None:
    """At the places where it looks, wherever the node's kubelet has its own."""
    node = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}
    affinity = json.dumps({"requiredDuringSchedulingIgnoredDuringExecution": node})
    plugin = "devicePlugin.enabled=true,devicePlugin.useCdi=true,devicePlugin.kubeletDir=/var/lib/k0s/kubelet"
    text = manifests.template(helm, f"--set={plugin}", f"--set-json=affinity.nodeAffinity={affinity}").stdout
    pods = [each["spec"]["template"]["spec"] for each in yaml.safe_load_all(text) if each["kind"] == "DaemonSet"]
    assert len(pods) == 2
    for pod in pods:
        folders = {each["name"]: each.get("hostPath", {}).get("path") for each in pod["volumes"]}
        assert folders["device-plugins"] == "/var/lib/k0s/kubelet/device-plugins"
        assert folders["cdi"] == "/var/run/cdi"
    places = {each["name"]: Path(each["mountPath"]) for each in containers(text)["cleanup"]["volumeMounts"]}
    looks = DeviceOptions()
    assert (places["device-plugins"], places["cdi"]) == (looks.kubelet_dir / "device-plugins", looks.cdi_dir)


def test_dpctl_in_the_container_looks_where_the_agents_files_are(helm: Path) -> None:
    places = {"pin-root": "/sys/fs/bpf/other", "run-dir": "/run/other", "state-dir": "/var/lib/other"}
    text = manifests.template(helm, *(f"--set=options.{name}={place}" for name, place in places.items())).stdout
    for container in (containers(text)["agent"], containers(text)["cleanup"]):
        given = {each["name"]: each.get("value") for each in container["env"]}
        for name, place in places.items():
            assert given[f"SLUICEWAY_{name.upper().replace('-', '_')}"] == place
