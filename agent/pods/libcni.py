"""What libcni keeps of each attachment of this node: whose it is, and what the plugins answered.

A file each, ``results/<network>-<container id>-<interface>`` below ``/var/lib/cni``, written when the last plugin of
the chain has answered and removed when the last has deleted. containerd and CRI-O both have it.

Source: containernetworking/cni, libcni (cniCacheV1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from agent.model.name import ObjectName
from agent.pods.host_local import RESULTS
from agent.pods.made import MadeInterface, made_interface


@dataclass(frozen=True, slots=True)
class KeptAttachment:
    """An attachment by its file; its pod may be gone."""

    network: str
    container_id: str
    interface: str
    pod: ObjectName
    pod_uid: str  # empty where the runtime does not tell
    made: MadeInterface


class _File(Struct, rename="camel", frozen=True):
    """As much of cniCacheV1 as is read."""

    container_id: str
    if_name: str
    network_name: str
    result: dict[str, Any]
    cni_args: list[tuple[str, str]] | None = field(default=None)


_FILE = msgspec.json.Decoder(_File)


def kept_attachments(folder: Path) -> Iterator[KeptAttachment]:
    """Those of pods, by their files' names; *folder* is usually ``/var/lib/cni``. What says nothing is passed over."""
    for path in sorted((folder / RESULTS).glob("*")):
        try:
            file = _FILE.decode(path.read_bytes())
            made = made_interface(file.result, file.if_name)
        except (OSError, ValueError, RecursionError):  # it went meanwhile, or is loopback's, or a bare result
            continue
        words = dict(file.cni_args or ())
        if "K8S_POD_NAME" in words:
            pod = ObjectName(words.get("K8S_POD_NAMESPACE", ""), words["K8S_POD_NAME"])
            uid = words.get("K8S_POD_UID", "")
            yield KeptAttachment(file.network_name, file.container_id, file.if_name, pod, uid, made)
