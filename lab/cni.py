"""What a container runtime does for a pod's network: a namespace, its loopback, and the CNI plugins of the node's list.

Source: CNI specification 1.1.0, section 3 (lifecycle) and 4 (how a list is executed).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from lab.errors import CommandFailedError, LabError
from lab.machine import Machine

BIN = "/opt/cni/bin"
CONF = "etc/cni/net.d"
INTERFACE = "eth0"
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"  # a capability, as containerd has it


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's network namespace on a machine."""

    machine: Machine
    container_id: str
    namespace: str  # of the pod, as Kubernetes means it
    pod: str
    uid: str
    annotations: Mapping[str, str]

    @property
    def name(self) -> str:
        """The network namespace's name on its machine."""
        return f"cni-{self.container_id[:12]}"

    @property
    def netns(self) -> Path:
        """The network namespace, as the host reaches it."""
        return self.machine.root / "run/netns" / self.name

    def create(self) -> tuple[str, ...]:
        """Make the namespace and connect it; the pod's addresses.

        Raises:
            LabError: the node has no network yet, or a plugin failed; nothing is left then.
        """
        lists = _network(self.machine)
        self.machine.run("ip", "netns", "add", self.name)
        try:
            self.machine.run("ip", "-netns", self.name, "link", "set", "lo", "up")
            result: Mapping[str, Any] = {}
            for plugin in lists["plugins"]:
                previous = {"prevResult": result} if result else {}
                result = json.loads(self._execute("ADD", lists, plugin, previous))
        except (LabError, ValueError) as error:
            self.remove()
            raise LabError(f"CNI ADD of {self.pod} on {self.machine.name} failed: {error}") from error
        return tuple(str(ip_interface(ip["address"]).ip) for ip in result.get("ips", ()))

    def remove(self) -> None:
        """Disconnect the namespace and remove it, as far as it is there.

        Raises:
            CommandFailedError: a plugin refused.
        """
        try:
            lists = _network(self.machine)
            for plugin in reversed(lists["plugins"]):
                self._execute("DEL", lists, plugin, {})
        finally:
            self.machine.run("ip", "netns", "del", self.name, check=False)

    def _execute(self, verb: str, lists: Mapping[str, Any], plugin: Mapping[str, Any], more: Mapping[str, Any]) -> str:
        own = {key: value for key, value in plugin.items() if key != "capabilities"}
        if self.annotations and plugin.get("capabilities", {}).get(ANNOTATIONS):
            own["runtimeConfig"] = {ANNOTATIONS: dict(self.annotations)}
        config = {"cniVersion": lists["cniVersion"], "name": lists["name"], **own, **more}
        arguments = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": self.namespace,
            "K8S_POD_NAME": self.pod,
            "K8S_POD_INFRA_CONTAINER_ID": self.container_id,
            "K8S_POD_UID": self.uid,
        }
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": BIN,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
        }
        done = self.machine.run(
            f"{BIN}/{plugin['type']}", stdin=json.dumps(config), environment=environment, check=False
        )
        if done.returncode:
            raise CommandFailedError(
                f"{plugin['type']} returned {done.returncode}: {_words(done.stdout + done.stderr)}"
            )
        return done.stdout


def has_network(machine: Machine) -> bool:
    """Whether a container runtime would find a network on this node."""
    return bool(_lists(machine))


def _network(machine: Machine) -> Mapping[str, Any]:
    """The first list of the node, as a runtime chooses it."""
    found = _lists(machine)
    if not found:
        raise LabError(f"{machine.name} has no network yet: no conflist in /{CONF}; see {machine.home}/agent.log")
    lists: Mapping[str, Any] = json.loads(found[0].read_text())
    return lists


def _lists(machine: Machine) -> list[Path]:
    return sorted((machine.root / CONF).glob("*.conflist"))


def _words(output: str) -> str:
    """A plugin's error, which it prints as JSON."""
    try:
        error = json.loads(output)
    except ValueError:
        return output.strip()
    return " ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
