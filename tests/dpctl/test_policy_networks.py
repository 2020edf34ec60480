"""What policies say of a VF on a network of its own, on real pinned maps that the agent's own compile filled."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.settings import Settings
from agent.model.attachment import DeviceInPod, Veth
from agent.model.policy import PodPeer, Policy, PortRange, Rule
from agent.serve.policy_report import PolicyReporter
from maps import abi
from maps.pins import Generation, PinRoot, generation_name
from tests.dpctl import node as cast

pytestmark = pytest.mark.kernel

FAST = cast.name("shop/fast")
AT = IPv4Address("10.9.0.7")
VF = replace(
    cast.WEB,
    interface="net1",
    endpoint_id=49,
    slot=9,
    link=Veth("", 0, in_pod=DeviceInPod("0000:03:02.0", (IPv4Address("10.9.0.1"),))),
    ipv4=IPv4Address("10.9.0.1"),
    ipv6=None,
    is_first=False,
    network=FAST,
)
PEER = replace(cast.ELSEWHERE, further=((FAST, (AT,)),))
MULTI = Policy(
    cast.name("shop/further"),
    PodPeer(cast.labelled(app="web"), namespace="shop"),
    ingress=(
        Rule(
            peers=(PodPeer(cast.labelled(app="client"), namespace="shop", networks=frozenset({FAST})),),
            ports=(PortRange(cast.TCP, 80, 80),),
        ),
    ),
    networks=frozenset({FAST}),
)


def test_a_vf_is_asked_about_as_on_its_network(
    bpffs_of: Callable[[], Path],
    pin_generation: Callable[[PinRoot, str], Generation],
    dpctl_on: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    root = PinRoot(bpffs_of() / "sluiceway")
    root.path.mkdir()
    generation = pin_generation(root, generation_name(abi.LAYOUT, {}))
    root.make_current(generation)
    cluster = replace(
        cast.cluster(attachments=(cast.WEB, cast.CLIENT, VF)),
        multi_policies={MULTI.name: MULTI},
        peers={PEER.name: PEER},
        listed=cast.KINDS | {"MultiNetworkPolicy"},
    )
    wanted = desired(cluster, Settings(cast.HERE, network_policy=True, multi_network_policy=True), Desired())
    cast.write(wanted, generation)
    PolicyReporter(tmp_path, root.path).report(wanted)

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return dpctl_on(root.path, "policy", *words, "--run-dir", str(tmp_path))

    (row,) = (row for row in json.loads(ask("list", "-o", "json").stdout) if row["policy"].startswith("Multi"))
    assert (row["policy"], row["pods"]) == ("MultiNetworkPolicy shop/further", ["shop/web/net1"])
    assert "TCP 80 from pods app=client on shop/fast of namespace shop" in ask("show", "shop/web/net1").stdout
    for client, port, status in ((str(AT), "80", 0), (str(AT), "81", 1), ("10.2.0.9", "80", 1), ("192.0.2.1", "80", 1)):
        done = ask("why", client, "shop/web/net1", port)
        assert (client, port, done.returncode) == (client, port, status), done.stdout
        assert "MultiNetworkPolicy shop/further" in done.stdout
