"""Where it is known which networks a pod asks for, and what these are: the runtime, the Cluster, the API server, files.

Part of ADD. A pod that is here before its object or its definition is waited for, some seconds, and no longer: the
runtime tries again.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import msgspec

from agent.compile.network import NO_DEVICES, Asked, Definitions, Devices, PodInterfaces, asked, interfaces, problems
from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.json_text import NOT_JSON
from agent.log import logger
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.network import InterfaceRequest, NetworkRules, NetworkSelection, PluginList
from agent.model.node import MIRROR, is_uid_of
from agent.pods.errors import NotSynced

log = logger(__name__)

WAIT_S = 5.0  # for a pod's object and its definitions, together
LOOK_S = 0.02
_SUFFIXES = frozenset({".conf", ".conflist", ".json"})


class Answer(Protocol):
    """A Pod as the API server has it: ``agent.kube.pods.PodAnswer``."""

    @property
    def uid(self) -> str:
        """Which of those that had its name it is."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """All of them."""


AskPod = Callable[[ObjectName], Answer | None]
AskDevices = Callable[[ObjectName, str], Devices]


class NetworkSource:
    """The networks of one node's pods, as they are asked for."""

    def __init__(  # noqa: PLR0913  who knows a part of it
        self,
        cluster: Callable[[], Cluster],
        rules: NetworkRules,
        files: Path,
        *,
        ask_pod: AskPod | None = None,
        devices: AskDevices = lambda *_: NO_DEVICES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """*files* is the folder with configurations of definitions that have none.

        *ask_pod* asks the API server, where there is one; *devices* tells what a pod's containers were given, by the
        Pod and its uid.
        """
        self._cluster = cluster
        self._rules = rules
        self._files = files
        self._ask_pod = ask_pod
        self._devices = devices
        self._clock = clock
        self._sleep = sleep
        self._seen: tuple[object, object, object] = (None, None, None)
        self._problems: tuple[Problem, ...] = ()

    def interfaces(
        self, pod: ObjectName, uid: str, told: Mapping[str, str], first_interface: str
    ) -> PodInterfaces | None:
        """What a pod is to have beside our own; None: nothing. *told* are its annotations, if the runtime tells them.

        Raises:
            NetworkRefused: it cannot have what it asks for.
            NotSynced: its object is not there yet, or cannot be asked for.
        """
        until = self._clock() + WAIT_S
        wanted = asked(pod, told or self._annotations(pod, uid, until))
        if not wanted:
            return None
        definitions = self._definitions(wanted, until)
        needs_devices = any(definitions[name].resource for name in wanted.names if name in definitions)
        devices = self._devices(pod, uid) if needs_devices else NO_DEVICES
        return interfaces(wanted, pod, definitions, self._rules, first_interface=first_interface, devices=devices)

    def is_usable(self, pod: ObjectName, wanted: tuple[NetworkSelection, ...], first_interface: str) -> bool:
        """Whether all that is asked for of a pod that runs can be had, as far as it does not rest on devices."""
        try:
            self._read(pod, wanted, first_interface, None)
        except NetworkRefused:
            return False
        return True

    def further(  # noqa: PLR0913, PLR0917  what an interface follows from
        self,
        pod: ObjectName,
        uid: str,
        wanted: tuple[NetworkSelection, ...],
        one: NetworkSelection,
        first_interface: str,
        in_use: Iterable[str],
    ) -> InterfaceRequest:
        """One interface more of a pod that runs, of all that are *wanted*, each with a name; nothing is waited for.

        *in_use* are the devices of its others.

        Raises:
            NetworkRefused: it cannot be had.
            NotSynced: nobody knows the devices that it was given.
        """
        there = self._cluster().networks
        needs_devices = one.name in there and there[one.name].resource
        devices = self._devices(pod, uid) if needs_devices else NO_DEVICES
        used = (*in_use, *(other.device for other in wanted if other.device and other != one))
        return self._read(pod, (one,), first_interface, devices, used).more[0]

    def _read(
        self,
        pod: ObjectName,
        wanted: tuple[NetworkSelection, ...],
        first_interface: str,
        devices: Devices | None,
        in_use: Collection[str] = (),
    ) -> PodInterfaces:
        alone = Asked(None, wanted)
        found = self._with_files(self._cluster().networks, alone.names)
        first, rules = first_interface, self._rules
        return interfaces(alone, pod, found, rules, first_interface=first, devices=devices, in_use=in_use)

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the annotations of this node's pods; for one thread, which asks again and again."""
        cluster = self._cluster()
        seen = (cluster.pods, cluster.networks, self._files_now(cluster.networks))
        if seen[0] is not self._seen[0] or seen[1] is not self._seen[1] or seen[2] != self._seen[2]:
            pods = {name: dict(pod.networks) for name, pod in cluster.pods.items() if pod.networks}
            definitions = self._with_files(cluster.networks, cluster.networks) if pods else {}
            self._problems = tuple(problems(pods, definitions, self._rules))
            self._seen = seen
        return self._problems

    def _files_now(self, definitions: Definitions) -> object:
        """What tells a changed file of the folder; nothing where no definition has its configuration there."""
        if all(one.plugins is not None or one.fault for one in definitions.values()):
            return None
        try:
            found = [(path.name, path.stat()) for path in self._files.iterdir()]
        except OSError:  # there is none, or one goes just now
            return None
        return frozenset((name, it.st_ino, it.st_size, it.st_mtime_ns) for name, it in found)

    def _annotations(self, pod: ObjectName, uid: str, until: float) -> Mapping[str, str]:
        """From the Cluster, as soon as it has this Pod; else from the API server."""
        while True:
            found = self._cluster().pods.get(pod)
            if found is not None and found.is_of(uid):
                return dict(found.networks)
            if self._ask_pod is None:
                return {}  # a folder of manifests need not have every pod
            if self._clock() >= until:
                return self._asked_for(self._ask_pod, pod, uid)
            self._sleep(LOOK_S)

    def _asked_for(self, ask: AskPod, pod: ObjectName, uid: str) -> Mapping[str, str]:
        try:
            found = ask(pod)
        # whatever kept it from being asked: a pod without its networks must not start
        except Exception as error:
            raise NotSynced(f"Pod {pod} cannot be asked for: {' '.join(str(error).split())}") from error
        if found is None or not is_uid_of(uid, found.uid, found.annotations.get(MIRROR, "")):
            raise NotSynced(f"Pod {pod} with uid {uid or '?'} is not in the API")
        return found.annotations

    def _definitions(self, wanted: Asked, until: float) -> Definitions:
        while True:
            there = self._cluster().networks
            if all(name in there for name in wanted.names) or self._clock() >= until:
                return self._with_files(there, wanted.names)
            self._sleep(LOOK_S)

    def _with_files(self, definitions: Definitions, names: Iterable[ObjectName]) -> Definitions:
        """The definitions of these names; one without a configuration with that of a file."""
        found = {name: definitions[name] for name in names if name in definitions}
        for name, one in found.items():
            if one.plugins is None and not one.fault:
                try:
                    found[name] = replace(one, plugins=of_file(self._files, name.name))
                except NetworkRefused as refused:
                    found[name] = replace(one, fault=str(refused))
        return found


def of_file(folder: Path, name: str) -> PluginList | None:
    """The configuration of this name in a folder's files, the first by their names; None where there is none.

    Raises:
        NetworkRefused: it cannot be used.
    """
    for path in sorted(folder.glob("*")):
        if path.suffix not in _SUFFIXES:
            continue
        try:
            text = path.read_text()
            found = msgspec.json.decode(text)
        except (OSError, *NOT_JSON) as error:
            log.warning("CNI configuration is unreadable", file=path, why=error)
            continue
        if isinstance(found, dict) and found.get("name") == name:
            return plugin_list(text, name, str(path))
    return None
