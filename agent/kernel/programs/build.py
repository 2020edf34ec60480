"""The compiled datapath: the objects that ship with the agent, or fresh ones where their sources have changed.

What a compiler makes is kept under a key of all that went into it (sources, headers, flags, machine, compiler).
``python -m agent.kernel.programs.build`` prints the key without a compiler, which the build leaves beside the objects
that ship: another compiler alone makes nothing that is better than what was tested.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import BuildFailed
from agent.log import logger
from agent.options.choices import Objects
from maps import paths

log = logger(__name__)

NAMES = ("sock", "tc_pod", "tc_uplink", "xdp", "gc", "flow_table", "xdp_pod", "tc_vf")
FLOW_TABLE = "flow_table"  # of them the one that is loaded when Python writes flows (maps/flow_table.py)
XDP_POD = "xdp_pod"  # and the one that is loaded for each interface with AF_XDP (agent/kernel/device/afxdp.py)
TC_VF = "tc_vf"  # and for each VF in a pod, onto the node's maps (agent/kernel/device/vf_programs.py)
LATER = frozenset({FLOW_TABLE, XDP_POD, TC_VF})  # none of them is loaded at the start
FLAGS = "cflags"  # clang's response file, beside the sources
KEY = "key"  # file beside shipped objects
UNFINISHED = ".new-"  # how a folder begins in which something is being compiled
SHOWN_LINES = 12  # of a compiler's complaint


@dataclass(frozen=True, slots=True)
class Compiler:
    """A clang, and what it says it is."""

    path: str
    version: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What is compiled and what is shipped, each a folder."""

    sources: Path
    headers: Path
    objects: Path

    @staticmethod
    def installed() -> "Sources":
        """Those of this wheel or checkout."""
        return Sources(paths.sources(), paths.headers(), paths.objects())


def objects(wish: Objects, cache: Path, where: Sources, compiler: Compiler | None) -> Mapping[str, Path]:
    """The object files by program name, compiled into *cache* where that is called for.

    ``auto`` loads what ships where it is of these sources, where there is no compiler, and where that refuses them.

    Raises:
        BuildFailed: there is no usable object; the text has the compiler's first lines.
    """
    shipped = _complete(where.objects)
    if wish is Objects.SHIPPED or (wish is Objects.AUTO and compiler is None):
        return _shipped(shipped, where)
    if compiler is None:
        raise BuildFailed("--objects compile: no clang in PATH; install one, or take --objects shipped")
    if wish is Objects.AUTO and shipped and _key_beside(where.objects) == key(where):
        return shipped
    folder = cache / key(where, compiler)
    try:
        return _complete(folder) or _compile(where, compiler, folder)
    except BuildFailed as error:
        if wish is Objects.COMPILE or not shipped:
            raise
        log.warning("compiling failed, the shipped objects are loaded", error=error)
        return shipped


def compiler(search: str | None = None) -> Compiler | None:
    """The newest clang in PATH (*search* is one, for tests); None on a node without."""
    folders = [Path(f) for f in (search or os.environ.get("PATH", "")).split(os.pathsep) if f]
    found = [c for folder in folders for c in folder.glob("clang*") if re.fullmatch(r"clang(-\d+)?", c.name)]
    newest = max(found, key=lambda c: int(c.name.partition("-")[2] or 0), default=None)
    if newest is None:
        return None
    said = subprocess.run([newest, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return Compiler(str(newest), said.stdout.partition("\n")[0]) if said.returncode == 0 else None


def key(where: Sources, compiler: Compiler | None = None) -> str:
    """A digest of everything that decides what the objects are; without *compiler* of what they are made of alone."""
    digest = hashlib.sha256()
    for text in (compiler.version if compiler else "", platform.machine(), " ".join(NAMES)):
        digest.update(text.encode() + b"\0")
    for root in (where.sources, where.headers):
        for path in sorted(p for p in root.rglob("*") if p.suffix in {".c", ".h"} or p.name == FLAGS):
            digest.update(str(path.relative_to(root)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _compile(where: Sources, compiler: Compiler, folder: Path) -> Mapping[str, Path]:
    """Compile every program; *folder* appears whole or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    except OSError as error:
        raise BuildFailed(f"--cache-dir: {folder.parent} cannot be written: {error.strerror}") from error
    try:
        for name in NAMES:
            _compile_one(where, compiler, name, work / f"{name}.bpf.o")
        try:
            work.rename(folder)
        except OSError:  # another agent on this cache was first
            if not _complete(folder):
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("datapath compiled", compiler=compiler.version, into=folder)
    return {name: folder / f"{name}.bpf.o" for name in NAMES}


def _compile_one(where: Sources, compiler: Compiler, name: str, target: Path) -> None:
    source = where.sources / f"{name}.bpf.c"
    system = f"/usr/include/{platform.machine()}-linux-gnu"  # Debian keeps asm/ there
    includes = [f"-I{where.sources}", f"-I{where.headers}", "-idirafter", system]
    command = [compiler.path, f"@{where.sources / FLAGS}", *includes, "-c", str(source), "-o", str(target)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if said.returncode:
        lines = "\n".join(said.stderr.splitlines()[:SHOWN_LINES])
        raise BuildFailed(f"{compiler.path} refused {source}:\n{lines}")


def _complete(folder: Path) -> Mapping[str, Path]:
    """The objects in *folder*, or nothing unless all are there."""
    found = {name: folder / f"{name}.bpf.o" for name in NAMES}
    return found if _all_files(found.values()) else {}


def _shipped(found: Mapping[str, Path], where: Sources) -> Mapping[str, Path]:
    if not found:
        raise BuildFailed(f"{where.objects} lacks objects of the datapath: run `make build`, or install clang")
    return found


def _key_beside(folder: Path) -> str:
    try:
        return (folder / KEY).read_text().strip()
    except FileNotFoundError:
        return ""


def _all_files(found: Iterable[Path]) -> bool:
    return all(path.is_file() for path in found)


if __name__ == "__main__":
    sys.stdout.write(f"{key(Sources.installed())}\n")
