"""Container Device Interface: the same device nodes as files that the runtime reads, one a resource.

They stay when the plugin ends: the kubelet restarts containers with what it was told once. Cleanup removes them
(``leave``).

Source: Container Device Interface Specification 0.6.0, which has classes with dots and ids that begin with a digit.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from agent.devices.allocation import device_nodes
from agent.devices.pools import Pool
from agent.model.device import Hardware
from agent.pods import files

VERSION = "0.6.0"
STEM = "sluiceway-"
PERMISSIONS = "rw"


def kind(resource: str) -> str:
    """A resource's name as a kind, whose both parts begin with a letter.

    What is put before others nobody's own name has: no resource's prefix has an underscore, and no name a dot.
    """
    vendor, _, name = resource.partition("/")
    return f"{'' if vendor[0].isalpha() else 'x_'}{vendor}/{'' if name[0].isalpha() else 'x.'}{name}"


def qualified(resource: str, device: str) -> str:
    """The name by which the kubelet tells the runtime of a device."""
    return f"{kind(resource)}={device}"


def specs(pools: Iterable[Pool], hardware: Hardware) -> Mapping[str, bytes]:
    """The files of all resources, by their names; a resource without device nodes needs none."""
    found = ((pool, [*_devices(pool, hardware)]) for pool in pools)
    return {file_name(pool.resource.name): _spec(pool.resource.name, devices) for pool, devices in found if devices}


def file_name(resource: str) -> str:
    """Of a resource's file."""
    return f"{STEM}{resource.replace('/', '_')}.json"


def place(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Make a folder's files of ours the *wanted* ones; what is so already is left alone.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in ours(folder):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for name, content in wanted.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            files.place(path, content, mode=0o644, outlives_boot=False)


def ours(folder: Path) -> tuple[Path, ...]:
    """A folder's files of ours, with those half written."""
    return (*folder.glob(f"{STEM}*.json"), *folder.glob(f"{STEM}*{files.DRAFT}"))


def _devices(pool: Pool, hardware: Hardware) -> Iterator[Mapping[str, object]]:
    for device in pool.devices:
        nodes = [
            {"path": node.container, "hostPath": node.host, "permissions": PERMISSIONS}
            for node in device_nodes(pool.resource, device.id, hardware)
        ]
        if nodes:
            yield {"name": device.id, "containerEdits": {"deviceNodes": nodes}}


def _spec(resource: str, devices: list[Mapping[str, object]]) -> bytes:
    return json.dumps({"cdiVersion": VERSION, "kind": kind(resource), "devices": devices}, indent=1).encode()
