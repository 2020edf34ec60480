"""The wheel's contents beyond Python: what `make build` compiled, and the sources it came from.

Everything goes under maps/_shipped, where maps/paths.py looks first; the extension and the kubelet's messages go beside
their Python. A checkout (an editable install) needs none of it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = "maps/_shipped"


class ShippedFiles(BuildHookInterface):  # type: ignore[type-arg] # only hatchling knows its argument
    """Puts BPF sources, headers, objects, the extension and the CNI shim into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each file and its place; refuse to make a wheel that could not work.

        Raises:
            FileNotFoundError: something is not built yet.
        """
        if version == "editable":
            return
        root = Path(self.root)
        libbpf = root / "build/libbpf"
        parts = {
            "BPF sources": _placed(f"{SHIPPED}/bpf", root / "bpf"),
            "libbpf's headers": _placed(f"{SHIPPED}/include", libbpf / "include"),
            "libbpf's licences": _placed(f"{SHIPPED}/libbpf", libbpf, libbpf.glob("LICENSE*")),
            "BPF objects": _placed(f"{SHIPPED}/objects", root / "build/bpf", root.glob("build/bpf/*.bpf.o")),
            "objects' key": _placed(f"{SHIPPED}/objects", root / "build/bpf", root.glob("build/bpf/key")),
            "extension": _placed("maps", root / "maps", root.glob("maps/_libbpf*.so")),
            "kubelet's messages": _placed("agent", root / "agent", root.glob("agent/devices/kubelet/*_pb2.py")),
            "CNI shim": _placed(f"{SHIPPED}/cni", root / "build/cni", root.glob("build/cni/sluiceway-cni")),
            "shim's libc's licence": _placed(f"{SHIPPED}/cni", root / "build/cni", root.glob("build/cni/LICENSE*")),
        }
        for what, files in parts.items():
            if not files:
                raise FileNotFoundError(f"the wheel would lack the {what}: run `make build` first")
            build_data["force_include"].update(files)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _placed(place: str, folder: Path, paths: Iterable[Path] | None = None) -> dict[str, str]:
    """The place in the wheel of each of *paths*, or of every file, below *folder*."""
    found = sorted(path for path in paths or folder.rglob("*") if path.is_file())
    return {str(path): f"{place}/{path.relative_to(folder)}" for path in found}
