"""Options: who gives a value, who wins, and what a mistake is answered."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.options.choices import Objects, ServiceProxy, SocketLb
from agent.options.config import Options
from agent.options.origins import Command, describe, load

MOUNTS = """\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 23 0:39 / /sys/fs/bpf rw,relatime shared:7 - bpf bpf rw
"""


def options(*argv: str, environ: Mapping[str, str] | None = None, command: str = "config") -> Options:
    return load([command, *argv], environ or {}, MOUNTS)[1]


def write(folder: Path, text: str) -> str:
    path = folder / "options.yaml"
    path.write_text(text)
    return str(path)


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = write(tmp_path, "log-level: debug\nlog-format: json\nmax-flows: 7\n")
    environ = {"SLUICEWAY_LOG_LEVEL": "warning", "SLUICEWAY_LOG_FORMAT": "text"}
    _, found, origins = load(["config", "--config", file, "--log-level", "error"], environ, MOUNTS)
    assert (found.log_level, found.log_format, found.max_flows, found.max_services) == ("error", "text", 7, 0)
    named = {name: origins[name] for name in ("log-level", "log-format", "max-flows", "max-services")}
    assert named == {
        "log-level": "--log-level",
        "log-format": "SLUICEWAY_LOG_FORMAT",
        "max-flows": file,
        "max-services": "default",
    }


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    assert options(environ={"SLUICEWAY_CONFIG": write(tmp_path, "max-flows: 7")}).max_flows == 7


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        pytest.param(["--devices", "eth0, eth1"], "devices", ("eth0", "eth1"), id="names are separated by commas"),
        pytest.param(
            ["--peer-router-asns=64600", "--peer-router-asns", "64601,64602"],
            "peer_router_asns",
            ("64600", "64601", "64602"),
            id="or by a flag that is given again, as kube-router's",
        ),
        pytest.param(["--bgp-port=1", "--bgp-port=2"], "bgp_port", 2, id="of what is no list the last holds"),
        pytest.param(["--socket-lb=off"], "socket_lb", SocketLb.OFF, id="off is off"),
        pytest.param(["--socket-lb=host"], "socket_lb", SocketLb.HOST, id="a switch may have a third place"),
        pytest.param(["--socket-lb=yes"], "socket_lb", SocketLb.ON, id="and is read as any switch"),
        pytest.param(["--install-cni=off"], "install_cni", False, id="off is no"),
        pytest.param(["--listen", "[::1]:80"], "listen", ("::1", 80), id="an IPv6 address stands in brackets"),
        pytest.param(
            ["--healthz-bind-address", "off"],
            "healthz_bind_address",
            ("", 0),
            id="off instead of an address is nowhere",
        ),
        pytest.param(
            ["--healthz-bind-address", ""], "healthz_bind_address", ("", 0), id="so is nothing, as kube-proxy's"
        ),
        pytest.param(
            ["--service-external-ip-range", "203.0.113.0/24, fd00:5::1/32"],
            "service_external_ip_range",
            (IPv4Network("203.0.113.0/24"), IPv6Network("fd00:5::/32")),
            id="ranges are separated by commas, and have no bits behind the prefix",
        ),
        pytest.param(["--node-port-range", "1-2"], "node_port_range", (1, 2), id="a range has two ends"),
        pytest.param(
            ["--service-cidrs", "10.96.0.1/12, fd00::/112"],
            "service_cidrs",
            (ip_network("10.96.0.0/12"), ip_network("fd00::/112")),
            id="ranges are of both families, and bits behind the prefix do not count",
        ),
        pytest.param(
            ["--api-server=https://192.0.2.1:6443/, https://[2001:db8::1]"],
            "api_server",
            ("https://192.0.2.1:6443", "https://[2001:db8::1]"),
            id="servers of both families",
        ),
        pytest.param(["--nodeport-addresses", "primary"], "nodeport_addresses", "primary", id="a word for addresses"),
        pytest.param(
            ["--nodeport-addresses=10.0.0.0/8"], "nodeport_addresses", (ip_network("10.0.0.0/8"),), id="or ranges"
        ),
        pytest.param(["--objects", "compile"], "objects", Objects.COMPILE, id="a choice becomes its enum"),
        pytest.param(["--kubeconfig", "/k"], "kubeconfig", Path("/k"), id="a path is a path"),
    ],
)
def test_values(argv: list[str], field: str, value: object) -> None:
    assert getattr(options(*argv), field) == value


@pytest.mark.parametrize(
    ("argv", "are_served"),
    [
        pytest.param([], True, id="by default"),
        pytest.param(["--socket-lb=host"], False, id="not where the node's own processes alone are"),
        pytest.param(["--masquerade-all=on"], False, id="nor where what pods ask is to be masqueraded"),
    ],
)
def test_pods_sockets_are_given_backends(argv: list[str], are_served: bool) -> None:  # noqa: FBT001
    assert options(*argv).serves_pods_sockets is are_served


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        pytest.param(["--socketlb", "on"], "did you mean --socket-lb?", id="an unknown flag names the nearest"),
        pytest.param(["--zzzzzz"], "see sluiceway-agent --help", id="or where all are listed"),
        pytest.param(["--log-level"], "expected one argument", id="a flag without value"),
        pytest.param(["--loadbalancer-ip-range", "203.0.113.0/33"], "write 10.96.0.0/12", id="no range"),
        pytest.param(["--loadbalancer-ip-range", "::ffff:0:0/90"], "write them as IPv4", id="a mapped range"),
        pytest.param(["--log-level", "loud"], "debug, info, warning, error", id="a choice says its choices"),
        pytest.param(["--kubeconfig", "k"], "absolute", id="a relative path"),
        pytest.param(["--socket-lb", "maybe"], "on, host, off", id="a switch of three"),
        pytest.param(["--install-cni", "maybe"], "neither on nor off", id="a switch"),
        pytest.param(["--listen", "9650"], "write 127.0.0.1:9650", id="a port without address"),
        pytest.param(["--listen", "::1:9650"], "or \\[::1\\]:9650", id="an IPv6 address without brackets"),
        pytest.param(["--max-flows", "-1"], "0 or a number", id="a negative size"),
        pytest.param(["--node-port-range", "9-3"], "write 3-9", id="a range that ends before it starts"),
        pytest.param(["--api-server", "192.0.2.1:6443"], "is no server; give https://HOST:PORT", id="without a scheme"),
        pytest.param(["--api-server", "http://192.0.2.1"], "is no server", id="tokens for all to read"),
        pytest.param(["--api-server", "https://192.0.2.1:77777"], "is no server", id="a port too high"),
        pytest.param(["--api-server", "https://[::1:6443"], "is no server", id="half a bracket"),
        pytest.param(["--api-server", "https://192.0.2.1/path"], "is no server", id="a path"),
        pytest.param(["--nodeport-addresses", "primary,::/0"], "'primary' is no range", id="the word stands alone"),
        pytest.param(["--service-cidrs", "10.96/12"], "write 10.96.0.0/12", id="no range of addresses"),
        pytest.param(["--service-cidrs", "::ffff:10.0.0.0/104"], "write them as IPv4", id="IPv4 in the form of IPv6"),
        pytest.param(["--devices", "a/b"], "no interface name", id="a name no device can have"),
        pytest.param(["--node-name", " "], "is empty", id="an empty name"),
        pytest.param(["--router-id", "0.0.0.0"], "192.0.2.1, or generate", id="a router id that nobody may have"),
        pytest.param(["--router-id=224.0.0.1"], "192.0.2.1, or generate", id="one that is no host's"),
        pytest.param(["stray"], "no option", id="a stray word"),
    ],
)
def test_mistakes_are_named_with_the_way_out(argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        options(*argv)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("log_levle: debug", "did you mean log-level?", id="an unknown key names the nearest"),
        pytest.param("max-flows: many", r"--max-flows \(from .*options.yaml\)", id="a bad value names the file"),
        pytest.param("- a", "holds no mapping", id="a list is no mapping"),
        pytest.param("a: [", "cannot read", id="no YAML at all"),
        pytest.param("config: /x", "unknown key", id="a file names no other file"),
    ],
)
def test_mistakes_in_the_file(content: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        options("--config", write(tmp_path, content))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot read /none"):
        options("--config", "/none")


def test_yaml_may_say_lists_switches_and_numbers_its_own_way(tmp_path: Path) -> None:
    found = options("--config", write(tmp_path, "devices: [eth0, eth1]\nsocket-lb: false\nmax-flows: 9\nlisten:\n"))
    assert (found.devices, found.socket_lb, found.max_flows) == (("eth0", "eth1"), SocketLb.OFF, 9)


def test_the_nodes_name_is_the_flag_then_node_name_then_the_hostname() -> None:
    environ = {"NODE_NAME": "by-env"}
    assert options("--node-name", "by-flag", environ=environ).node_name == "by-flag"
    assert options(environ=environ).node_name == "by-env"
    assert options().node_name


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_what_kubelet_tells_of_a_service_of_our_name_is_no_option(protocol: str) -> None:
    link = f"{protocol}://10.96.0.7:80"
    environ = {
        "SLUICEWAY_TUNNEL_SERVICE_HOST": "10.96.0.7",
        "SLUICEWAY_TUNNEL_SERVICE_PORT": "80",
        "SLUICEWAY_TUNNEL_PORT": link,
        f"SLUICEWAY_TUNNEL_PORT_80_{protocol.upper()}": link,
        f"SLUICEWAY_TUNNEL_PORT_80_{protocol.upper()}_PORT": "80",
    }
    assert options(environ=environ) == options()
    assert options(environ={**environ, "SLUICEWAY_TUNNEL_PORT": "4789"}).tunnel_port == 4789


def test_without_a_bpffs_there_is_still_what_is_to_be_cleaned_up() -> None:
    command, found, _ = load(["cleanup"], {}, "")
    assert (command, found.pin_root) == (Command.CLEANUP, Path("/sys/fs/bpf/sluiceway"))


def test_the_pins_folder_may_itself_be_mounted_as_a_containers_volume_is() -> None:
    mounts = f"{MOUNTS}99 1 0:30 /sluiceway /sys/fs/bpf/sluiceway rw shared:9 - bpf bpf rw\n"
    _, found, _ = load(["run", "--manifests", "/m", "--pin-root", "/sys/fs/bpf/sluiceway"], {}, mounts)
    assert found.pin_root == Path("/sys/fs/bpf/sluiceway")


def test_bpffs_and_cgroup2_are_where_they_are_mounted() -> None:
    found = options()
    assert (found.pin_root, found.cgroup) == (Path("/sys/fs/bpf/sluiceway"), Path("/sys/fs/cgroup/unified"))


@pytest.mark.parametrize(
    ("argv", "mounts", "text"),
    [
        pytest.param(["run", "--manifests", "/m"], "", "mount -t bpf", id="no bpffs"),
        pytest.param(["run", "--manifests", "/m", "--pin-root", "/b"], "", "mount -t cgroup2", id="no cgroup2"),
        pytest.param(["run"], MOUNTS, "nothing to watch", id="no source of objects"),
        pytest.param(
            ["run", "--manifests", "/m", "--pin-root", "/sys/fs/bpf/"],
            MOUNTS,
            r"--pin-root \(from --pin-root\): .*give a folder in it, such as /sys/fs/bpf/sluiceway",
            id="all of a bpffs as the pins' folder",
        ),
        pytest.param(
            ["cleanup", "--pin-root", "/sys/fs/bpf"], MOUNTS, "give a folder in it", id="all of a bpffs to clean up"
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--encapsulation", "ipip", "--tunnel-port", "4789"],
            MOUNTS,
            r"--tunnel-port \(from --tunnel-port\): --encapsulation ipip has none; .* vxlan or geneve",
            id="a port that IP in IP has not",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--peer-router-ips", "192.0.2.1,192.0.2.2", "--peer-router-asns", "64600"],
            MOUNTS,
            r"--peer-router-asns \(from --peer-router-asns\): 1 for 2 of --peer-router-ips; give one for each",
            id="a peer by BGP without an AS number",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--cluster-asn", "23456"],
            MOUNTS,
            r"--cluster-asn \(from --cluster-asn\): .*23456 is reserved, and no AS has it",
            id="an AS number that no AS has",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--tunnel-vni", "7"],
            MOUNTS,
            "--tunnel-vni .* native has none",
            id="a network number where nothing is encapsulated",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--mtu", "1400"],
            MOUNTS,
            r"--mtu \(from --mtu\): with --network chained other CNI plugins make the pods' network; take it out",
            id="an MTU of others' interfaces",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--encapsulation", "vxlan"],
            MOUNTS,
            "--encapsulation .* with --network chained",
            id="a tunnel beside others'",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--masquerade-all", "on"],
            MOUNTS,
            "--masquerade-all .* with --network chained",
            id="source translation where others do it",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--l2-announce", "on"],
            MOUNTS,
            "--l2-announce .* with --network chained",
            id="announced where another proxy serves",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--service-proxy", "pods"],
            MOUNTS,
            r"--service-proxy pods \(from --service-proxy\): that is for --network chained; give on, or off",
            id="a part of what our own network leaves to nobody",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--service-proxy", "off"],
            MOUNTS,
            "policy sees no backend that kube-proxy chooses; give pods, or --network-policy off",
            id="policy that would not see whom pods ask",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--forwarding", "dsr"],
            MOUNTS,
            "--forwarding .* with --network chained",
            id="a way for clients outside where others serve them",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--service-proxy", "off", "--replace-kube-proxy", "on"],
            MOUNTS,
            r"--replace-kube-proxy \(from --replace-kube-proxy\): with --service-proxy off kube-proxy serves",
            id="rules of a kube-proxy that is to serve",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--network", "chained", "--replace-kube-proxy", "on"],
            MOUNTS,
            "with --service-proxy pods kube-proxy serves whom the agent does not; .* give --service-proxy on",
            id="or that is to serve the node and the outside",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--loadbalancer-pools", "on"],
            MOUNTS,
            "--loadbalancer-pools .* needs an API server, and --manifests names a folder",
            id="addresses that nobody could be told",
        ),
        pytest.param(
            ["run", "--manifests", "/m", "--xdp", "off", "--xdp-deny-cidrs-file", "/d"],
            MOUNTS,
            r"--xdp-deny-cidrs-file \(from --xdp-deny-cidrs-file\): without XDP nothing is denied; .*--xdp generic",
            id="ranges that nobody would deny",
        ),
    ],
)
def test_what_keeps_the_agent_from_running(argv: list[str], mounts: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load(argv, {}, mounts)


@pytest.mark.parametrize(
    ("argv", "served", "hooks"),
    [
        pytest.param([], ServiceProxy.ON, True, id="in our network all who ask"),
        pytest.param(["--service-proxy", "off"], ServiceProxy.OFF, False, id="nobody, and no socket either"),
        pytest.param(["--network", "chained"], ServiceProxy.PODS, True, id="over another's network pods"),
        pytest.param(["--network=chained", "--service-proxy=on"], ServiceProxy.ON, True, id="or all who ask"),
        pytest.param(
            ["--network=chained", "--service-proxy=off", "--network-policy=off"],
            ServiceProxy.OFF,
            False,
            id="or nobody, where policy need not see whom they ask",
        ),
    ],
)
def test_who_is_served(argv: list[str], served: ServiceProxy, *, hooks: bool) -> None:
    options = load(["run", "--manifests", "/m", *argv], {}, MOUNTS)[1]
    assert (options.served, options.has_socket_hooks) == (served, hooks)


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        pytest.param(["config"], {}, id="config shows even what could not run"),
        pytest.param(
            ["run", "--manifests", "/m", "--pin-root", "/b", "--socket-lb", "off"], {}, id="no hook, no cgroup"
        ),
        pytest.param(
            ["run", "--pin-root", "/b", "--cgroup", "/c"], {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, id="within a pod"
        ),
    ],
)
def test_what_needs_no_mounts(argv: list[str], environ: dict[str, str]) -> None:
    assert load(argv, environ, "")[0] is Command(argv[0])


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["--encapsulation", "vxlan", "--tunnel-port", "4789", "--tunnel-vni", "7"], id="VXLAN has both"),
        pytest.param(["--encapsulation", "geneve", "--tunnel-port", "4789"], id="and so has Geneve"),
        pytest.param(["--encapsulation", "ipip", "--tunnel-port", "0", "--tunnel-vni", "1"], id="a default is no wish"),
    ],
)
def test_an_encapsulation_may_have_what_it_uses(argv: list[str]) -> None:
    assert load(["run", "--manifests", "/m", *argv], {}, MOUNTS)[0] is Command.RUN


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="defaults"),
        pytest.param(
            ["--listen", "[::1]:80", "--healthz-bind-address", "off", "--devices", "a,b", "--kubeconfig", "/a b: c"],
            id="what YAML would misread",
        ),
        pytest.param(["--node-name", "0x10", "--socket-lb", "off"], id="a name like a number"),
    ],
)
def test_config_prints_what_config_reads(argv: list[str], tmp_path: Path) -> None:
    _, found, origins = load(["config", *argv], {}, MOUNTS)
    text = describe(found, origins)
    assert "# --" in text or not argv
    again = options("--config", write(tmp_path, text))
    assert replace(again, config=None) == found
