"""An interface made and unmade by the plugins of a network's configuration, one behind the other.

What each is told is the specification's: its configuration, what it declared to want of the request, and the result
of the one before it. Our own plugin is told the same, and is no process: the agent does itself what the shim would
ask it for.

Source: CNI specification 1.1.0, section 4 ("Execution of Network Configurations").
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from agent.compile.result_version import handed_on
from agent.log import logger
from agent.model.name import ObjectName
from agent.model.network import DEVICE_INFO_FILE, OUR_PLUGIN, Plugin, PluginList
from agent.pods.address_plugin import give_back, has_forgotten, see_address_plugin
from agent.pods.device_info import DeviceInfo, info_file
from agent.pods.gc_turn import GcRunning, GcTurn
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.plugin import PluginFailed, Plugins
from agent.pods.pod_links import has_device

log = logger(__name__)

_KEEPS, _GC = "0.4.0", "1.1.0"  # versions since which there are CHECK; GC and STATUS
# reference plugins that make nothing but a device in the pod: DEL of macvlan until 1.3 and of vlan wants the node's
# device to be there, and that of host-device the pod's
LINKS = frozenset({"macvlan", "ipvlan", "vlan", "host-device"})
FORGETFUL = frozenset({"host-device"})  # whose DEL without a namespace asks no IPAM plugin, as of 1.9
TRY_LATER = 11  # CNI's code


class DelegateFailed(Exception):  # noqa: N818  the name says what happened
    """An interface could not be made, unmade or checked; the message names it."""

    def __init__(self, interface: InterfaceRecord, failed: PluginFailed) -> None:
        super().__init__(f"{interface.interface} of {interface.network}: {failed}")
        self.code = failed.code
        self.is_of_configuration = failed.is_of_configuration


class OwnPlugin(Protocol):
    """Our plugin, without a process: ``agent.cni.in_process.InProcess``, or a test's."""

    def __call__(self, environment: Mapping[str, str], config: Mapping[str, Any], definition: ObjectName | None) -> Any:
        """As ``Plugins.run`` for ADD, DEL and CHECK; *definition* is None for a pod's first interface."""


@dataclass(frozen=True, slots=True)
class Delegates:
    """The plugins of one node, asked for whole interfaces; *own* is ours, where it makes further ones."""

    plugins: Plugins
    own: OwnPlugin | None = None
    has_device: Callable[[NetworkSet, str], bool] = has_device
    turn: GcTurn = field(default_factory=GcTurn)

    def look(self, one: InterfaceRecord) -> None:
        """See that there is all that makes it, before anything is made.

        Raises:
            DelegateFailed: a plugin is not there, or the daemon that it asks.
        """
        for plugin in one.plugins:
            if self._is_own(plugin.kind):  # which takes back what it began
                continue
            if lack := self.plugins.lack(plugin.kind):
                raise DelegateFailed(one, PluginFailed(plugin.kind, lack))
            try:
                see_address_plugin(self.plugins, msgspec.json.decode(plugin.config))
            except PluginFailed as failed:
                raise DelegateFailed(one, failed) from failed

    def add(self, owner: NetworkSet, one: InterfaceRecord, deadline: float) -> str:
        """Make it; the result as JSON.

        Raises:
            DelegateFailed: a plugin did not; what those before it made is still there.
        """
        previous: Any = None
        with self._changing(one, deadline):
            self._info.begin(owner, one)
            for plugin in one.list.plugins:
                previous = self._run("ADD", owner, one, plugin, previous, deadline)
        return msgspec.json.encode(previous or {}).decode()

    def delete(self, owner: NetworkSet, one: InterfaceRecord, deadline: float) -> None:
        """Unmake it, the last plugin first; each is asked, also when another fails.

        One that takes the configuration for no command has made nothing by it. What makes nothing but a device in the
        pod, and fails where there is none, has left nothing but addresses.

        Raises:
            DelegateFailed: the first that failed.
        """
        previous = msgspec.json.decode(one.result) if one.result and one.version >= _KEEPS else None
        failed: list[DelegateFailed] = []
        with self._changing(one, deadline):
            for plugin in reversed(one.list.plugins):
                try:
                    self._run("DEL", owner, one, plugin, previous, deadline)
                    if not owner.netns and plugin.kind in FORGETFUL:
                        self._give_back(owner, one, plugin, deadline)
                except DelegateFailed as error:
                    failed += self._still_failed(error, owner, one, plugin, deadline)
        if failed:
            raise failed[0]

    def check(self, owner: NetworkSet, one: InterfaceRecord, deadline: float) -> None:
        """Ask each whether it is as it was made.

        Raises:
            DelegateFailed: the first that finds that it is not.
        """
        if not one.checks or one.version < _KEEPS:
            return
        previous = msgspec.json.decode(one.result or "{}")
        for plugin in one.list.plugins:
            self._run("CHECK", owner, one, plugin, previous, deadline)

    def collect(self, plugins: PluginList, valid: Callable[[], Iterable[tuple[str, str]]], deadline: float) -> None:
        """Have a network's plugins forget attachments that are not *valid* then: container id and interface.

        Raises:
            PluginFailed: the first that failed, all were asked; or others are at the network all the time.
        """
        if not plugins.collects or plugins.version < _GC or all(self._is_own(one.kind) for one in plugins.plugins):
            return
        try:
            with self.turn.to_collect(plugins.name, deadline):
                listed = [{"containerID": container, "ifname": interface} for container, interface in sorted(valid())]
                both = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}  # libcni's first name too
                self._ask_all("GC", plugins, both, deadline)
        except GcRunning as running:
            raise PluginFailed(plugins.plugins[0].kind, str(running), TRY_LATER) from running

    def status(self, plugins: PluginList, deadline: float) -> None:
        """Ask a network's plugins whether they can serve.

        Raises:
            PluginFailed: the first that cannot.
        """
        self._ask_all("STATUS", plugins, {}, deadline)

    def device_info(self, owner: NetworkSet, one: InterfaceRecord) -> Any:
        """What is told of the interface's device; None where nobody knows."""
        return self._info.read(owner, one)

    def forget_device_info(self, owner: NetworkSet, one: InterfaceRecord) -> None:
        """Take away what is told of it."""
        self._info.remove(info_file(owner, one))

    @property
    def _info(self) -> DeviceInfo:
        return DeviceInfo(self.plugins.root)

    @contextmanager
    def _changing(self, one: InterfaceRecord, deadline: float) -> Iterator[None]:
        """While plugins add or delete an interface.

        Raises:
            DelegateFailed: a GC of its network does not end.
        """
        try:
            with self.turn.to_change(one.name, deadline):
                yield
        except GcRunning as running:
            failed = PluginFailed(one.plugins[0].kind, str(running), TRY_LATER)
            raise DelegateFailed(one, failed) from running

    def _is_own(self, kind: str) -> bool:
        return kind == OUR_PLUGIN and self.own is not None

    def _ask_all(self, command: str, plugins: PluginList, more: Mapping[str, Any], deadline: float) -> None:
        """A command that is about the network as a whole."""
        if plugins.version < _GC:
            return
        failed: list[PluginFailed] = []
        for plugin in plugins.plugins:
            if self._is_own(plugin.kind):  # what we have made is in our own books
                continue
            config = {**_config(plugin, plugins, {}), **more}
            try:
                self.plugins.run(plugin.kind, {"CNI_COMMAND": command}, config, deadline)
            except PluginFailed as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _still_failed(
        self, error: DelegateFailed, owner: NetworkSet, one: InterfaceRecord, plugin: Plugin, deadline: float
    ) -> Iterator[DelegateFailed]:
        """What is left of a plugin's failure to delete; nothing where there is nothing to be deleted."""
        if not one.result and error.is_of_configuration and not self._is_own(plugin.kind):
            log.warning("plugin refuses to delete what it refused to add; it is left", why=error)
        elif plugin.kind in LINKS and not self.has_device(owner, one.interface):
            try:
                self._give_back(owner, one, plugin, deadline)
            except DelegateFailed as refused:
                yield refused
            else:
                log.warning("plugin fails to delete what is not there; its addresses are given back", why=error)
        else:
            yield error

    def _give_back(self, owner: NetworkSet, one: InterfaceRecord, plugin: Plugin, deadline: float) -> None:
        """Have the IPAM plugin of a plugin take back what it gave.

        Raises:
            DelegateFailed: it does not.
        """
        config, environment = self._told("DEL", owner, one, plugin, None)
        try:
            give_back(self.plugins, environment, config, deadline)
        except PluginFailed as failed:
            raise DelegateFailed(one, failed) from failed

    def _run(  # noqa: PLR0913, PLR0917  what a plugin is told
        self,
        command: str,
        owner: NetworkSet,
        one: InterfaceRecord,
        plugin: Plugin,
        previous: Any,
        deadline: float,
    ) -> Any:
        config, environment = self._told(command, owner, one, plugin, previous)
        try:
            if plugin.kind == OUR_PLUGIN and self.own is not None:
                return self.own(environment, config, None if owner.is_first(one) else one.network)
            return self.plugins.run(plugin.kind, environment, config, deadline)
        except PluginFailed as failed:
            raise DelegateFailed(one, failed) from failed

    def _told(
        self, command: str, owner: NetworkSet, one: InterfaceRecord, plugin: Plugin, previous: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """A plugin's configuration and environment."""
        config = _config(plugin, one.list, _runtime(owner, one))
        if command == "DEL" and has_forgotten(self.plugins, config):
            log.warning("DHCP lease is given back to nobody: no daemon has it", interface=one.interface)
            del config["ipam"]
        if one.device:
            config |= {"deviceID": one.device, "pciBusID": one.device}
        if one.cni_args:
            args = config.get("args") or {}
            config["args"] = args | {"cni": (args.get("cni") or {}) | msgspec.json.decode(one.cni_args)}
        if previous is not None:
            config["prevResult"] = handed_on(previous, one.version)
        return config, {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": owner.container_id,
            "CNI_NETNS": owner.netns,
            "CNI_IFNAME": one.interface,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in _args(owner, one)),
        }


def without_netns(owner: NetworkSet) -> NetworkSet:
    """The same for a DEL, where its namespace is not there any more, or another's."""
    return msgspec.structs.replace(owner, netns="")


def _config(plugin: Plugin, plugins: PluginList, runtime: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(plugin.config)
    found.pop("capabilities", None)
    found |= {"name": plugins.name, "cniVersion": plugins.version}
    wanted = {key: value for key, value in runtime.items() if key in plugin.capabilities}
    return found | ({"runtimeConfig": wanted} if wanted else {})


def _runtime(owner: NetworkSet, one: InterfaceRecord) -> Mapping[str, Any]:
    asked: dict[str, Any] = msgspec.json.decode(one.runtime)
    return asked | {DEVICE_INFO_FILE: str(info_file(owner, one))}


def _args(owner: NetworkSet, one: InterfaceRecord) -> Iterable[tuple[str, str]]:
    """What the pod asks for comes first: of two of one key the last counts, and whose pod it is no pod says."""
    yield from one.args
    yield "IgnoreUnknown", "1"
    if owner.pod is not None:
        yield "K8S_POD_NAMESPACE", owner.pod.namespace
        yield "K8S_POD_NAME", owner.pod.name
        yield "K8S_POD_INFRA_CONTAINER_ID", owner.container_id
    if owner.pod_uid:
        yield "K8S_POD_UID", owner.pod_uid
