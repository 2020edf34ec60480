"""A pod's further interfaces as they stand on the disk: what each was made of, and what came of it.

A file for each container, durable before a plugin is executed and after it answered. It outlives a reboot, for so does
what IPAM plugins have noted. What a DEL needs is all in it: definitions change and go while their pods live.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from threading import Lock

import msgspec

from agent.json_text import NOT_JSON
from agent.log import logger
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.model.network import OUR_PLUGIN, InterfaceRequest, Plugin, PluginList
from agent.pods.attachments import digest
from agent.pods.files import place, remove, remove_drafts

log = logger(__name__)

FOLDER = "networks"  # in --state-dir
SUFFIX = ".json"


class Step(StrEnum):
    """How far an interface has come."""

    WANTED = "wanted"  # no plugin knows of it
    BEGUN = "begun"  # one may; in a set that is whole it is to be unmade
    MADE = "made"


class PluginRecord(msgspec.Struct, frozen=True):
    """One plugin, with its configuration as it was."""

    kind: str
    capabilities: tuple[str, ...]
    config: str


class InterfaceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One interface; a field that another version lacks has a default."""

    network: ObjectName
    interface: str
    name: str  # the network's, as its configuration has it
    version: str
    plugins: tuple[PluginRecord, ...]
    checks: bool = True
    collects: bool = True
    runtime: str = "{}"
    args: tuple[tuple[str, str], ...] = ()
    cni_args: str = ""
    default_route: tuple[str, ...] = ()
    device: str = ""
    resource: str = ""  # that the device is of
    asked: str = ""  # the annotation's element without the interface's name; agents before this one noted none
    step: Step = Step.WANTED
    result: str = ""  # JSON; empty while there is none

    @property
    def list(self) -> PluginList:
        """The configuration that made it."""
        plugins = tuple(Plugin(one.kind, frozenset(one.capabilities), one.config) for one in self.plugins)
        return PluginList(self.name, self.version, plugins, self.checks, self.collects)

    @property
    def own_kind(self) -> str:
        """The kind that our plugin makes of it; empty: other plugins do."""
        is_ours = bool(self.plugins) and self.plugins[0].kind == OUR_PLUGIN
        return str(msgspec.json.decode(self.plugins[0].config).get("kind", "")) if is_ours else ""


class NetworkSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """All interfaces of a container that other plugins make, in their order."""

    container_id: str
    interface: str  # the first one's
    netns: str  # path
    cluster_network: str  # the name of the configuration by which the runtime asked
    boot: str
    interfaces: tuple[InterfaceRecord, ...]
    netns_cookie: int = 0
    pod: ObjectName | None = None
    pod_uid: str = ""
    asked_at_ns: int = 0  # by CLOCK_BOOTTIME of that boot
    replaces_first: bool = False  # the first of them is the pod's first interface
    is_whole: bool = False  # all are made, and the runtime may know
    is_leaving: bool = False  # a DEL came, and not all is undone
    status: str = ""  # network-status, once it is whole

    @property
    def key(self) -> AttachmentKey:
        """What identifies the container's first interface."""
        return self.container_id, self.interface

    def is_first(self, one: InterfaceRecord) -> bool:
        """Whether an interface of it is the pod's first."""
        return self.replaces_first and one.interface == self.interface


def interface_record(request: InterfaceRequest) -> InterfaceRecord:
    """What is written of an interface before it is made."""
    plugins = request.plugins
    return InterfaceRecord(
        network=request.network,
        interface=request.interface,
        name=plugins.name,
        version=plugins.version,
        plugins=tuple(PluginRecord(one.kind, tuple(sorted(one.capabilities)), one.config) for one in plugins.plugins),
        checks=plugins.checks,
        collects=plugins.collects,
        runtime=request.runtime,
        args=request.args,
        cni_args=request.cni_args,
        default_route=tuple(map(str, request.default_route)),
        device=request.device,
        resource=request.resource,
        asked=request.asked,
    )


class NetworkRecords:
    """The records of one node; safe to use from several threads, each container by one at a time."""

    def __init__(self, folder: Path) -> None:
        """Nothing is touched before the first write."""
        self._folder = folder
        self._lock = Lock()
        self._sets: dict[AttachmentKey, NetworkSet] = {}

    def load(self) -> None:
        """Take over what an earlier agent left."""
        remove_drafts(self._folder)
        found = dict[AttachmentKey, NetworkSet]()
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                one = msgspec.json.decode(path.read_bytes(), type=NetworkSet)
            except (OSError, *NOT_JSON) as error:
                log.warning("record of a pod's networks is unreadable: addresses may stay taken", file=path, why=error)
                continue
            found[one.key] = one
        with self._lock:
            self._sets = found

    def get(self, key: AttachmentKey) -> NetworkSet | None:
        """The record of a container."""
        return self._sets.get(key)

    def all(self) -> tuple[NetworkSet, ...]:
        """All of this moment."""
        with self._lock:
            return tuple(self._sets.values())

    def put(self, one: NetworkSet) -> None:
        """Write a record, durably.

        Raises:
            OSError: the disk is full, or read-only; what was there stays.
        """
        path = self._path(one.key)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place(path, msgspec.json.encode(one))
        with self._lock:
            self._sets[one.key] = one

    def remove(self, key: AttachmentKey) -> None:
        """Take a record away, durably.

        Raises:
            OSError: the disk is read-only.
        """
        if self._folder.is_dir():
            remove(self._path(key))
        with self._lock:
            self._sets.pop(key, None)

    def _path(self, key: AttachmentKey) -> Path:
        return self._folder / f"{digest(*key)[:32]}{SUFFIX}"


def read(folder: Path) -> Iterable[NetworkSet]:
    """What is in a folder, by whoever looks at it."""
    records = NetworkRecords(folder)
    records.load()
    return records.all()
