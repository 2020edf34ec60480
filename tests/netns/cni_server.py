"""A node whose CNI server is real, with pods that the real shim asks for; only the reconcile loop is a fake."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from agent.cni.commands import Cni
from agent.cni.interfaces import OwnInterfaces
from agent.cni.socket import CniSocket
from agent.ipam.pool import Ipam
from agent.kernel.net.sysctl import Sysctls
from agent.model.attachment import Attachment
from agent.netlink import netns as namespace
from agent.netlink import requests
from agent.netlink.requests import Request
from agent.pods.attachments import boot_id
from agent.pods.journal import Journal
from agent.pods.pods import Pods
from agent.pods.veth import PodVeths
from tests.agent.cni.room import without_networks
from tests.agent.pods.nic.nic_node import device_commands

PREFIX = f"swcni{os.getpid() % 100000}"
Config = Mapping[str, object]
Answer = tuple[int, dict[str, Any]]
CIDRS = (ip_network("10.77.1.0/24"), ip_network("fd77:1::/64"))


@dataclass
class FakeLoop:
    """Remembers who is attached; can refuse."""

    attached: dict[str, Attachment] = field(default_factory=dict)
    refuse: bool = False

    def attach(self, attachment: Attachment) -> None:
        """As the loop's."""
        if self.refuse:
            raise OSError(12, "the endpoints map is full")
        self.attached[attachment.link.host_device] = attachment

    def detach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached.pop(attachment.link.host_device, None)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(name: str, *command: str) -> str:
    return run("nsenter", f"--net=/run/netns/{name}", *command)


@dataclass
class Node:
    """A namespace with an uplink of MTU 1400, a server in it, and pods beside it."""

    name: str
    shim: Path
    directory: Path
    loop: FakeLoop = field(default_factory=FakeLoop)
    pods: list[str] = field(default_factory=list)
    prepared: tuple[Request, ...] = (requests.add_clsact(0),)  # what is asked for before a device is up
    cni: Cni | None = None
    server: CniSocket | None = None

    def start(self) -> tuple[Attachment, ...]:
        """The agent's CNI part; its threads are born in the node's namespace and stay there."""
        restored: list[tuple[Attachment, ...]] = []

        def serve() -> None:
            ipam, sysctls = Ipam(lambda: CIDRS), Sysctls(self.directory)
            veths = PodVeths(lambda: (1400,), lambda name: (sysctls.pod(name), self.prepared))
            journal = Journal(self.directory / "attachments", boot_id())
            pods = Pods(loop=self.loop, journal=journal, ipam=ipam, veths=veths)
            networks, vfs = without_networks(self.directory), device_commands(self.directory)
            self.cni = Cni(pods, networks, ipam, OwnInterfaces(pods, ipam, (veths.faults,), vfs), vfs)
            restored.append(self.cni.restore())
            self.server = CniSocket(self.directory, self.cni.answer)
            self.server.start()

        self.do(serve)
        return restored[0]

    def do(self, action: Callable[[], None]) -> None:
        """Do something on a thread in the node's namespace."""
        failures: list[BaseException] = []

        def act() -> None:
            try:
                with namespace.inside(f"/run/netns/{self.name}"):
                    action()
            except BaseException as error:  # noqa: BLE001  told by the test's own thread
                failures.append(error)

        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def uplink(self) -> int:
        """The uplink's ifindex."""
        return int(json.loads(inside(self.name, "ip", "-j", "link", "show", "up0"))[0]["ifindex"])

    def stop(self) -> None:
        """End the server, leave the pods."""
        assert self.server
        self.server.stop()
        self.server = None

    def pod(self) -> str:
        """A new namespace that goes with the node."""
        name = f"{PREFIX}p{len(self.pods)}"
        run("ip", "netns", "add", name)
        self.pods.append(name)
        return name

    def call(
        self, command: str, pod: str, version: str = "1.1.0", config: Config | None = None, interface: str = "eth0"
    ) -> Answer:
        """Execute the shim as a runtime does; its exit code and what it printed."""
        conf = {"cniVersion": version, "name": "sluiceway", "type": "sluiceway-cni", **(config or {})}
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c-{pod}",
            "CNI_IFNAME": interface,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
            "SLUICEWAY_CNI_SOCKET": str(self.directory / "cni.sock"),
        }
        done = subprocess.run(
            [self.shim], env=environment, input=json.dumps(conf).encode(), capture_output=True, check=False, timeout=120
        )
        return done.returncode, json.loads(done.stdout or "{}")

    def host_ends(self) -> list[str]:
        """The node's ends of pods' veths."""
        return [link["ifname"] for link in json.loads(inside(self.name, "ip", "-j", "link")) if "swp" in link["ifname"]]
