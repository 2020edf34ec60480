"""The wheel's contents beyond Python: what `make build` compiled, and the sources it came from.

Everything goes under maps/_shipped, where maps/paths.py looks first; the extension goes beside its Python. A checkout
(an editable install) needs none of it.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = "maps/_shipped"
OBJECTS = "build/bpf"
HEADERS = "build/libbpf/include"
SHIM = "build/cni/sluiceway-cni"


class ShippedFiles(BuildHookInterface):
    """Puts BPF sources, headers, objects, the extension and the CNI shim into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each file and its place; refuse to make a wheel that could not work.

        Raises:
            FileNotFoundError: something is not built yet.
        """
        if version == "editable":
            return
        root = Path(self.root)
        placed = {path: f"{SHIPPED}/objects/{path.name}" for path in root.glob(f"{OBJECTS}/*.bpf.o")}
        extension = {path: f"maps/{path.name}" for path in root.glob("maps/_libbpf*.so")}
        shim = {path: f"{SHIPPED}/cni/{path.name}" for path in root.glob(SHIM)}
        headers = _tree(root / HEADERS, f"{SHIPPED}/include")
        for what, files in {"BPF objects": placed, "extension": extension, "shim": shim, "headers": headers}.items():
            if not files:
                raise FileNotFoundError(f"the wheel would lack its {what}: run `make build` first")
        sources = _tree(root / "bpf", f"{SHIPPED}/bpf")
        files = placed | extension | shim | headers | sources
        build_data["force_include"] |= {str(path): place for path, place in files.items()}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _tree(folder: Path, place: str) -> dict[Path, str]:
    """Every file below *folder*, with its place in the wheel."""
    return {path: f"{place}/{path.relative_to(folder)}" for path in sorted(folder.rglob("*")) if path.is_file()}
