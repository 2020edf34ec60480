"""Rules as kube-proxy writes them go from a network namespace, and nothing of what others have there."""

import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from pyroute2.ipset import IPSet

from agent.kernel.kube_proxy import alive, ipvs, leftovers
from agent.kernel.kube_proxy.ipvs import VirtualServer
from agent.netlink.nftables import NfTables
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

WRITTEN = Path(__file__).with_name("written")
FAMILIES = {"iptables": "iptables.ipv4", "ip6tables": "iptables.ipv6"}
NODE_PORTS = (30000, 32767)
MANY = 3000  # chains of services: more than one transaction takes


def run(*command: str, given: str = "") -> str:
    """A command's output; it runs in the calling thread's namespace."""
    return subprocess.run(command, input=given, text=True, check=True, capture_output=True).stdout


def restored(rules: str, *, tool: str = "iptables") -> None:
    """Have iptables-nft add rules to what is there, as kube-proxy does."""
    run(f"{tool}-nft-restore", "--noflush", given=rules)


def listed() -> Counter[str]:
    """All rules and chains of a namespace, by iptables and by nft."""
    found: Counter[str] = Counter()
    for tool in FAMILIES:
        for line in run(f"{tool}-nft-save").splitlines():
            if not line.startswith("#"):
                found[f"{tool} {line.partition(' [')[0]}"] += 1
    found.update(line for line in run("nft", "list", "tables").splitlines())
    return found


def others() -> None:
    """What kubelet, kube-router, Docker, the portmap plugin and the administrator have, in both families."""
    for tool in FAMILIES:
        restored((WRITTEN / "others.rules").read_text(), tool=tool)
    run("nft", "-f", "-", given="table inet kube-proxy { chain mine { accept; }; }")
    run("nft", "-f", "-", given="table ip mine { chain KUBE-SERVICES { accept; }; }")


def of_iptables_mode() -> None:
    """kube-proxy's, written in that mode."""
    for tool, name in FAMILIES.items():
        restored((WRITTEN / name).read_text(), tool=tool)


def of_nftables_mode() -> None:
    """kube-proxy's, written in that mode."""
    run("nft", "-f", str(WRITTEN / "nftables.nft"))


@pytest.mark.parametrize(
    ("write", "kinds"),
    [
        pytest.param(of_iptables_mode, ["iptables chains"], id="iptables mode"),
        pytest.param(of_nftables_mode, ["nftables table"], id="nftables mode"),
    ],
)
def test_a_mode_goes_whole_and_nothing_else_and_can_come_back(write: Callable[[], None], kinds: list[str]) -> None:
    # kubelet has this chain too, and it is the same; kube-proxy makes it where kubelet has not yet
    shared = {
        f"{tool} {line.partition(' [')[0]}"
        for tool, name in FAMILIES.items()
        for line in (WRITTEN / name).read_text().splitlines()
        if "KUBE-FIREWALL" in line
    }

    def body() -> None:
        others()
        before = listed()
        for _ in range(2):
            write()
            assert {*listed()} > {*before}
            assert [*leftovers.look().kinds()] == kinds
            leftovers.remove(NODE_PORTS)
            after = listed()
            assert {*after - before} <= shared
            assert before - after == Counter()
            assert [*leftovers.look().kinds()] == []

    in_new_netns(body)


def test_chains_of_many_services_go() -> None:
    chains = [f"KUBE-SVC-{''.join(chr(65 + n // 26**i % 26) for i in range(3)) * 5}A" for n in range(MANY)]
    rules = [
        "*nat",
        ":KUBE-SERVICES - [0:0]",
        *(f":{chain} - [0:0]" for chain in chains),
        "-A OUTPUT -j KUBE-SERVICES",
        *(f"-A KUBE-SERVICES -d 10.96.{n // 250}.{n % 250} -j {chain}" for n, chain in enumerate(chains)),
        "COMMIT",
    ]

    def body() -> None:
        restored("\n".join([*rules, ""]))
        assert len(leftovers.look().rules.chains) == MANY + 1
        leftovers.remove(NODE_PORTS)
        assert "KUBE" not in run("iptables-nft-save")

    in_new_netns(body)


def test_a_chain_that_a_verdict_map_leads_to_is_told_and_kube_proxy_meets_no_packet() -> None:
    def body() -> None:
        of_iptables_mode()
        run("nft", "add chain ip nat mine; add rule ip nat mine tcp dport vmap { 1 : jump KUBE-MARK-MASQ }")
        with pytest.raises(OSError, match="nf_tables: Device or resource busy"):
            leftovers.remove(NODE_PORTS)
        hooks = [line for line in run("iptables-nft-save", "-t", "nat").splitlines() if "-j KUBE-SERVICES" in line]
        assert hooks == []

    in_new_netns(body)


def test_ipvs_mode_goes_with_its_sets_and_device() -> None:
    def body() -> list[str]:
        others()
        before = listed()
        with IPSet() as sets:
            sets.create("KUBE-CLUSTER-IP", stype="hash:ip,port")
            sets.create("KUBE-6-LOAD-BALANCER-SOURCE-CID", stype="hash:ip", family=socket.AF_INET6)
            sets.create("KUBE-IPVS-IPS", stype="hash:ip")
            sets.create("KUBE-DST-ERIFXISQEP7F7OF4", stype="hash:ip")  # kube-router's
        with IPRoute() as netlink:
            netlink.link("add", kind="veth", ifname="kube-ipvs0", peer="peer")
        restored((WRITTEN / "ipvs.rules").read_text())
        assert [*leftovers.look().kinds()] == ["iptables chains", "IPVS device"]
        leftovers.remove(NODE_PORTS)
        assert listed() == before
        assert [*leftovers.look().kinds()] == []
        assert not ipvs.is_there()
        with IPSet() as sets:
            return [message.get_attr("IPSET_ATTR_SETNAME") for message in sets.list()]

    assert in_new_netns(body) == ["KUBE-DST-ERIFXISQEP7F7OF4"]


def test_virtual_servers_on_the_device_and_at_node_ports_are_kube_proxys() -> None:
    def server(address: str, port: int) -> VirtualServer:
        return VirtualServer(ip_address(address), port, socket.IPPROTO_TCP)

    ours = [server("10.96.0.1", 443), server("fd00:96::1", 443), server("192.0.2.1", 30080), server("192.0.2.1", 32767)]
    theirs = [server("192.0.2.1", 80), server("192.0.2.100", 443), server("192.0.2.100", 30080)]
    on_device = {ip_address("10.96.0.1"), ip_address("fd00:96::1")}
    found = ipvs.own([*theirs, *ours], on_device, {ip_address("192.0.2.1")}, NODE_PORTS)
    assert [*found] == ours


@pytest.mark.parametrize("tool", FAMILIES)
def test_chains_in_iptables_legacy_are_told_and_stay(tool: str) -> None:
    def body() -> tuple[list[str], list[str]]:
        run(f"{tool}-legacy", "-t", "mangle", "-N", "KUBE-SERVICES-NOT")
        run(f"{tool}-legacy", "-t", "filter", "-N", "KUBE-SERVICES")
        before = run(f"{tool}-legacy-save").splitlines()
        found = leftovers.look()
        assert [*found.kinds()] == ["iptables-legacy chains"]
        leftovers.remove(NODE_PORTS)
        assert [line for line in run(f"{tool}-legacy-save").splitlines() if line[0] != "#"] == [
            line for line in before if line[0] != "#"
        ]
        return list(found.legacy), [*found.kinds()]

    assert in_new_netns(body) == (["filter"], ["iptables-legacy chains"])


def test_a_namespace_without_any_of_it_is_left_without_tables() -> None:
    def body() -> str:
        leftovers.remove(NODE_PORTS)
        with NfTables() as kernel:
            assert [*kernel.tables()] == []
        return Path("/proc/thread-self/net/ip_tables_names").read_text()

    assert in_new_netns(body) == ""


def test_kube_proxys_process_is_found_in_its_own_namespace_alone() -> None:
    with subprocess.Popen(["bash", "-c", "echo kube-proxy >/proc/$$/comm; echo; read -r"], stdin=-1, stdout=-1) as kept:
        assert kept.stdout
        kept.stdout.readline()
        assert alive.sign() == f"runs as process {kept.pid}"
        assert in_new_netns(alive.sign) == ""
        kept.communicate(b"\n")
