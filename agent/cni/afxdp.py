"""That an interface is to have AF_XDP, as the network's configuration or the pod's annotation says it.

The configuration says it by its kind or its key ``afxdp``, which has an object (``agent.compile.afxdp_config``). The
annotation ``sluiceway.io/afxdp`` has the same as text, for the pod's first interface.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.cni.error import CniError, Code
from agent.compile.afxdp_config import queues_and_capture
from agent.compile.network_refused import NetworkRefused
from agent.model.attachment import AfXdp
from agent.model.name import ObjectName
from agent.model.network import AFXDP

KEY = "afxdp"
ANNOTATION = "sluiceway.io/afxdp"
FIRST = "eth0"  # the interface that every runtime's first network makes
_RESERVED = frozenset({"pods", "containers", "interfaces"})  # folders beside the devices' places
_POD = re.compile(r"[a-z0-9]([a-z0-9.\-]*[a-z0-9])?")  # a part of a path, as Kubernetes names pods and namespaces
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.\-]{0,99}")


def place(pod: ObjectName | None, container_id: str, interface: str) -> str:
    """Where an interface's socket and map are, below the folders of all: known from the pod before it is made."""
    if pod and _POD.fullmatch(pod.namespace) and _POD.fullmatch(pod.name):
        return f"pods/{pod.namespace}/{pod.name}/{interface}"
    return f"containers/{container_id}/{interface}"


def afxdp(config: Mapping[str, Any], notes: Mapping[str, str], own_place: str, interface: str) -> AfXdp | None:
    """What is asked for; None: an interface like others. A device that a plugin gave the pod has a place of its own.

    Raises:
        CniError: a value is of the wrong kind or out of range.
    """
    where, wanted = KEY, config.get(KEY)
    if wanted is None and config.get("kind") == AFXDP:
        wanted = {}
    if wanted is None and interface == FIRST and ANNOTATION in notes:
        where, wanted = ANNOTATION, _decoded(notes[ANNOTATION])
    if wanted is None:
        return None
    try:
        queues, captured = queues_and_capture(wanted, where)
    except NetworkRefused as error:
        raise CniError(Code.CONFIG, str(error)) from error
    return AfXdp(_device(config) or own_place, queues, captured)


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise _bad(ANNOTATION, f"{text!r} is no JSON") from None


def _device(config: Mapping[str, Any]) -> str:
    """The device that a plugin gave the pod for this interface; empty: none."""
    asked = config.get("runtimeConfig")
    device = (asked.get("deviceID") if isinstance(asked, dict) else None) or config.get("deviceID")
    if device in (None, ""):
        return ""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device) or device in _RESERVED:
        raise _bad("deviceID", f"{device!r} is no name of a device")
    return device


def _bad(where: str, text: str) -> CniError:
    return CniError(Code.CONFIG, f"{where}: {text}")
