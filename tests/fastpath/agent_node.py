"""The agent's CNI part in the guest, asked by the real shim; only the reconcile loop is a fake. Agents can die here."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from agent.cni.commands import Cni
from agent.cni.device_commands import DeviceCommands
from agent.cni.in_process import InProcess
from agent.cni.interfaces import OwnInterfaces
from agent.cni.network_source import NetworkSource
from agent.cni.networks import PodNetworks
from agent.cni.socket import CniSocket
from agent.ipam.pool import Ipam
from agent.kernel.device.nic import NodeNics
from agent.kernel.device.sriov import SriovCard
from agent.kernel.device.vf_programs import VfPrograms
from agent.kernel.programs.load import OfInterface
from agent.model.cluster import Cluster
from agent.model.network import NetworkRules
from agent.pods import fail_points
from agent.pods.attachments import boot_id
from agent.pods.delegate import Delegates
from agent.pods.device.claims import claim_addresses
from agent.pods.device.guards import Guards
from agent.pods.device.ipam import DeviceIpam
from agent.pods.journal import Journal
from agent.pods.known import KnownAttachments
from agent.pods.network_record import FOLDER, NetworkRecords
from agent.pods.networks import Networks
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import nic_journal
from agent.pods.plugin import Plugins
from agent.pods.pods import Pods
from agent.pods.veth import PodVeths
from agent.pods.vf.files import VfFiles
from agent.pods.vf.record import vf_journal
from agent.pods.vf.vfs import Vfs
from maps import paths
from tests.agent.kernel.device.vf_maps import VfMaps
from tests.fastpath.cards import run
from tests.netns.cni_server import FakeLoop

PLUGINS = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
PINS = Path("/sys/fs/bpf/sluiceway")
STATE, RUN = Path("/run/state"), Path("/run/sluiceway")
DIED = 9
Answer = tuple[int, dict[str, Any]]


@dataclass
class AgentNode:
    """A node."""

    pods: set[str] = field(default_factory=set)
    maps: VfMaps = field(default_factory=lambda: VfMaps(PINS / "one/maps"))
    programs: OfInterface | None = None  # on VFs; None: as on a kernel without tcx, for what has no use for them
    server: CniSocket | None = None
    cluster: Cluster = field(default_factory=Cluster)  # has definitions of further networks
    given: Mapping[str, Sequence[str]] = field(default_factory=dict)  # devices that each pod has, by resource

    def parts(self) -> tuple[Cni, Vfs]:
        """A new agent over the same kernel and disk, which has taken over what it finds."""
        ipam = Ipam(lambda: (ip_network("10.77.1.0/24"),))
        veths = PodVeths(lambda: (1400,), lambda _: ((), ()))
        journal, known = Journal(STATE / "attachments", boot_id()), KnownAttachments()
        pods = Pods(loop=FakeLoop(), journal=journal, ipam=ipam, veths=veths, known=known)
        guards = Guards(known, self.maps, VfPrograms(self.programs, PINS / "vfs"))
        vfs = Vfs(
            SriovCard(),
            vf_journal(STATE, boot_id()),
            DeviceIpam(Plugins(PLUGINS)),
            VfFiles(RUN),
            guards=guards,
            claim=claim_addresses,
        )
        nics = Nics(
            NodeNics(),
            nic_journal(STATE, boot_id()),
            DeviceIpam(Plugins(PLUGINS)),
            guards=guards,
            hardware=vfs.hardware,
            claim=claim_addresses,
        )
        devices = DeviceCommands(vfs, nics)
        own = OwnInterfaces(pods, ipam, (veths.faults,), devices)
        records, delegates = NetworkRecords(STATE / FOLDER), Delegates(Plugins(PLUGINS), InProcess(own))
        networks = Networks(records, delegates, lambda *_: None, lambda _: True)
        source = NetworkSource(lambda: self.cluster, NetworkRules(), STATE, devices=lambda *_: self.given)
        cni = Cni(pods, PodNetworks(networks, source, boot_id()), ipam, own, devices)
        cni.restore()
        return cni, vfs

    def start(self) -> Vfs:
        """Serve."""
        cni, vfs = self.parts()
        self.server = CniSocket(RUN, cni.answer)
        self.server.start()
        return vfs

    def stop(self) -> None:
        """End; pods keep what they have."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def pod(self, name: str) -> None:
        """A network namespace."""
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        self.pods.add(name)

    def end_pod(self, name: str) -> None:
        """Its namespace ends, whatever is in it."""
        run("ip", "netns", "del", name)
        self.pods.discard(name)

    def call(
        self, command: str, pod: str, config: Mapping[str, Any], *, netns: bool = True, interface: str = "net1"
    ) -> Answer:
        """As a runtime, by the shim."""
        argv = [str(paths.cni_binary())]
        environment = self.environment(command, pod, netns=netns) | {"CNI_IFNAME": interface}
        done = subprocess.run(argv, env=environment, input=stdin(config), capture_output=True, check=False, timeout=90)
        return done.returncode, json.loads(done.stdout or "{}")

    def ok(
        self, command: str, pod: str, config: Mapping[str, Any], *, netns: bool = True, interface: str = "net1"
    ) -> dict[str, Any]:
        """As :meth:`call`, which has to succeed."""
        code, answer = self.call(command, pod, config, netns=netns, interface=interface)
        assert code == 0, answer
        return answer

    def environment(self, command: str, pod: str, *, netns: bool = True) -> dict[str, str]:
        """What a runtime sets."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c-{pod}",
            "CNI_IFNAME": "net1",
            "CNI_NETNS": f"/run/netns/{pod}" if netns else "",
            "CNI_PATH": str(PLUGINS),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
            "SLUICEWAY_CNI_SOCKET": str(RUN / "cni.sock"),
        }

    def die_at(self, point: str, command: str, pod: str, config: Mapping[str, Any]) -> bool:
        """Another agent serves one request and dies at a point; whether it came there."""
        child = os.fork()
        if not child:
            status = 1
            try:
                cni, _ = self.parts()
                fail_points.reached = lambda reached: os._exit(DIED) if reached == point else None
                status, output = cni.answer(self.environment(command, pod), stdin(config))
                print(f"{command} was not killed at {point}: {output!r}", flush=True)
            finally:
                os._exit(status if status != DIED else 1)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) == DIED


def stdin(config: Mapping[str, Any]) -> bytes:
    """A configuration as a runtime sends it."""
    return json.dumps({"cniVersion": "1.1.0", "name": "fast", "type": "sluiceway-cni", **config}).encode()
