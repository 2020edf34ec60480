"""A CNI request as the runtime's environment and standard input spell it, made a value or refused.

First step of every CNI command: what the shim forwarded becomes a :class:`Request`, or a
:class:`CniError` with the specification's code and a message that names the variable or field.

Source: CNI specification 1.1.0, sections 2 (execution protocol) and 5 (errors).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from agent.cni.afxdp import afxdp, place
from agent.cni.capabilities import Capabilities, capabilities
from agent.cni.error import CniError, Code
from agent.json_text import NOT_JSON
from agent.model.attachment import AfXdp, AttachmentKey
from agent.model.name import ObjectName
from agent.model.network import OUR_KINDS, RUNTIME_ARGS
from agent.model.nic import NicKind
from agent.model.vf import VfKind
from agent.pods.request import PodRequest

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
KINDS = ("", *OUR_KINDS)  # that a definition can ask for
LATE = "SLUICEWAY_LATE"  # of a request that was left as a file: nobody waits for its answer
AT_START, AFTERWARDS = "at start", "afterwards"  # while others wait, or not
ASKED_AT = "SLUICEWAY_ASKED_AT"  # the shim's: nanoseconds of CLOCK_BOOTTIME when the runtime executed it
DEFAULT_VERSION = "1.0.0"  # of an error whose request names no version of ours

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_INTERFACE = re.compile(r"[^/:%\s]+")  # the kernel takes eth%d for a pattern to number
IFNAME_MAX = 15  # octets: IFNAMSIZ less the NUL


class Command(StrEnum):
    """What a runtime can ask for, and since which version of the specification."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_SINCE = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose parts were found sound; *container_id* and *interface* are empty for GC and STATUS."""

    command: Command
    version: str
    network: str
    container_id: str
    interface: str
    netns: str
    may_be_host: bool  # CNI_NETNS_OVERRIDE: the agent's own namespace is accepted
    pod: ObjectName | None
    pod_uid: str  # empty where the runtime does not tell
    previous: Mapping[str, Any] | None  # prevResult
    valid: frozenset[AttachmentKey] | None  # GC: (container id, interface) to keep
    dns: Mapping[str, Any]
    asked: Capabilities
    afxdp: AfXdp | None
    asked_at_ns: int | None  # by CLOCK_BOOTTIME; what is younger is spared by GC and DEL; None: not known
    kind: str  # of interface; empty: a veth pair
    config: Mapping[str, Any]  # all of it, as it came
    is_late: bool = False  # nobody waits for the answer
    is_at_start: bool = False  # others wait until it is done
    is_further: bool = False  # of a pod's further network, beside the one that the runtime asks for
    definition: ObjectName | None = None  # of that network; None: of the first interface, or nobody tells

    @property
    def is_vf(self) -> bool:
        """Whether the interface is a VF."""
        return self.kind in frozenset(VfKind)

    @property
    def is_device(self) -> bool:
        """Whether the interface is a VF, or made of a device of the node."""
        return self.is_vf or self.kind in frozenset(NicKind)

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment that is meant."""
        return self.container_id, self.interface

    def for_pods(self) -> PodRequest:
        """What an ADD asks for, without the words of CNI."""
        return PodRequest(
            network=self.network,
            container_id=self.container_id,
            interface=self.interface,
            netns=self.netns,
            may_be_host=self.may_be_host,
            pod=self.pod,
            pod_uid=self.pod_uid,
            addresses=self.asked.addresses,
            mac=self.asked.mac,
            host_ports=self.asked.host_ports,
            ingress_limit=self.asked.ingress,
            egress_limit=self.asked.egress,
            asked_at_ns=self.asked_at_ns,
            afxdp=self.afxdp,
            pool=_pool(self.config) if self.kind and not self.is_device else "",
            annotations=self.asked.annotations,
            is_further=self.is_further,
            definition=self.definition,
        )


def parse(environment: Mapping[str, str], stdin: bytes) -> Request:
    """The request that *environment* (CNI_ variables) and *stdin* (the configuration) describe.

    Raises:
        CniError: either is not as the specification wants it.
    """
    command = _command(environment)
    config = _config(stdin)
    version = _version(config, command)
    network = _text(config, "name")
    if not _NAME.fullmatch(network):
        raise CniError(Code.CONFIG, f"name: {network!r} is no network name")
    whole_node = command in {Command.GC, Command.STATUS}
    pod, uid = (None, "") if whole_node else _pod(environment.get("CNI_ARGS", ""))
    asked = capabilities(config) if command is Command.ADD else Capabilities()
    container_id, interface = ("", "") if whole_node else (_container_id(environment), _interface(environment))
    return Request(
        command=command,
        version=version,
        network=network,
        container_id=container_id,
        interface=interface,
        netns=_netns(environment, command),
        may_be_host=environment.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "true"},
        pod=pod,
        pod_uid=uid,
        previous=_previous(config, command),
        valid=_valid(config) if command is Command.GC else None,
        dns=_mapping(config, "dns") or {},
        asked=asked,
        afxdp=afxdp(config, asked.annotations, place(pod, container_id, interface), interface)
        if command is Command.ADD
        else None,
        asked_at_ns=_asked_at(environment),
        kind=_kind(config),
        config=config,
        is_late=LATE in environment,
        is_at_start=environment.get(LATE) == AT_START,
    )


def requested_version(stdin: bytes) -> str:
    """The version an answer is given in: the configuration's where it is one of ours."""
    try:
        version = _config(stdin).get("cniVersion")
    except CniError:
        return DEFAULT_VERSION
    return version if version in VERSIONS else DEFAULT_VERSION


def _asked_at(environment: Mapping[str, str]) -> int | None:
    text = environment.get(ASKED_AT, "")
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None


def _command(environment: Mapping[str, str]) -> Command:
    word = environment.get("CNI_COMMAND", "")
    try:
        return Command(word)
    except ValueError:
        raise CniError(Code.ENVIRONMENT, f"CNI_COMMAND: {word!r} is no command") from None


def _config(stdin: bytes) -> Mapping[str, Any]:
    if not stdin.strip():
        raise CniError(Code.DECODE, "the configuration on stdin is empty")
    try:
        config = msgspec.json.decode(stdin)
    except NOT_JSON as error:
        raise CniError(Code.DECODE, "the configuration on stdin is no JSON", str(error)) from error
    if not isinstance(config, dict):
        raise CniError(Code.DECODE, "the configuration on stdin is no JSON object")
    return config


def _version(config: Mapping[str, Any], command: Command) -> str:
    version = config.get("cniVersion", "0.1.0")  # what a configuration without the key means
    if version not in VERSIONS:
        supported = ", ".join(VERSIONS)
        raise CniError(Code.VERSION, f"cniVersion: {version!r} is not supported", f"supported: {supported}")
    if _SINCE.get(command, "") > version:
        raise CniError(Code.VERSION, f"cniVersion: {command} exists since {_SINCE[command]}, not in {version}")
    return str(version)


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if value is None:
        raise CniError(Code.CONFIG, f"{key}: the configuration lacks it")
    if not isinstance(value, str):
        raise CniError(Code.CONFIG, f"{key}: {value!r} is no string")
    return value


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise CniError(Code.CONFIG, f"{key}: {value!r} is no object")
    return value


def _pool(config: Mapping[str, Any]) -> str:
    """The pools that a definition of ours names for its addresses."""
    ipam = config.get("ipam")
    return str(ipam.get("pool") or "") if isinstance(ipam, dict) else ""


def _kind(config: Mapping[str, Any]) -> str:
    """The kind of interface; a word that is misspelt must not become a veth pair."""
    kind = config.get("kind", "")
    if kind not in KINDS:
        raise CniError(Code.CONFIG, f"kind: {kind!r} is none of {', '.join(filter(None, KINDS))}")
    return str(kind)


def _container_id(environment: Mapping[str, str]) -> str:
    value = environment.get("CNI_CONTAINERID", "")
    if not _NAME.fullmatch(value):
        raise CniError(Code.ENVIRONMENT, f"CNI_CONTAINERID: {value!r} is no container id")
    return value


def _interface(environment: Mapping[str, str]) -> str:
    value = environment.get("CNI_IFNAME", "")
    fits = len(value.encode()) <= IFNAME_MAX
    if not _INTERFACE.fullmatch(value) or value in {".", ".."} or not fits:
        raise CniError(Code.ENVIRONMENT, f"CNI_IFNAME: {value!r} is no interface name")
    return value


def _netns(environment: Mapping[str, str], command: Command) -> str:
    value = environment.get("CNI_NETNS", "")
    if not value and command in {Command.ADD, Command.CHECK}:
        raise CniError(Code.ENVIRONMENT, "CNI_NETNS: not set, the network namespace is unknown")
    return value


def _pod(args: str) -> tuple[ObjectName | None, str]:
    """The pod that CNI_ARGS names, and its uid; an unknown key is an error unless IgnoreUnknown is set."""
    pairs = [pair.partition("=") for pair in args.split(";") if pair]
    bad = [key for key, equals, _ in pairs if not equals]
    if bad:
        raise CniError(Code.ENVIRONMENT, f"CNI_ARGS: {bad[0]!r} has no value")
    values = {key: value for key, _, value in pairs}
    unknown = sorted(values.keys() - RUNTIME_ARGS)
    if unknown and values.get("IgnoreUnknown", "").lower() not in {"1", "true"}:
        raise CniError(Code.ENVIRONMENT, f"CNI_ARGS: {unknown[0]!r} is not understood")
    name = values.get("K8S_POD_NAME", "")
    pod = ObjectName(values.get("K8S_POD_NAMESPACE", ""), name) if name else None
    return pod, values.get("K8S_POD_UID", "")


def _previous(config: Mapping[str, Any], command: Command) -> Mapping[str, Any] | None:
    previous = _mapping(config, "prevResult")
    if previous is None and command is Command.CHECK:
        raise CniError(Code.CONFIG, "prevResult: the configuration lacks it, CHECK compares with it")
    for key in ("interfaces", "ips", "routes"):
        items = (previous or {}).get(key)
        if items is not None and not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
            raise CniError(Code.CONFIG, f"prevResult.{key}: is no list of objects")
    return previous


def _valid(config: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    key = "cni.dev/valid-attachments"
    older = "cni.dev/attachments"  # libcni's name before the specification's was read right
    if key not in config and older not in config:
        raise CniError(Code.CONFIG, f"{key}: the configuration lacks the list, GC keeps what it names")
    entries = config.get(key, config.get(older))
    if entries is None:  # a Go program's empty list
        return frozenset()
    if not isinstance(entries, list):
        raise CniError(Code.CONFIG, f"{key}: {entries!r} is no list")
    return frozenset(_named(entry, f"{key}[{index}]") for index, entry in enumerate(entries))


def _named(entry: object, where: str) -> tuple[str, str]:
    """The attachment that an entry names; what is misread here would be deleted."""
    match entry:
        case {"containerID": str(container), "ifname": str(interface)}:
            return container, interface
        case _:
            raise CniError(Code.CONFIG, f"{where}: {entry!r} has no containerID or no ifname")
