"""What the benches compile for themselves when they run: a BPF object, and a C program. Nothing of it is kept."""

import platform
import subprocess
from pathlib import Path

from agent.errors import BuildFailed
from agent.kernel.programs import build
from maps import paths

HERE = Path(__file__).resolve().parent


def bpf_object(name: str, folder: Path, home: Path = HERE) -> Path:
    """``<name>.bpf.c`` in *home* compiled into *folder*, with the project's flags and headers."""
    compiler = build.compiler()
    if compiler is None:
        raise BuildFailed("the benches compile a program of their own: no clang in PATH")
    target = folder / f"{name}.bpf.o"
    ours = [f"-I{paths.sources()}", f"-I{paths.headers()}"]
    includes = [*ours, "-idirafter", f"/usr/include/{platform.machine()}-linux-gnu"]
    flags = [f"@{paths.sources() / build.FLAGS}", *includes]
    _run([compiler.path, *flags, "-c", str(home / f"{name}.bpf.c"), "-o", str(target)])
    return target


def c_program(name: str, folder: Path, home: Path = HERE) -> Path:
    """``<name>.c`` in *home* compiled into *folder*, with what the benches' programs share (``program.h``)."""
    target = folder / name
    flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{HERE}"]
    _run(["gcc", *flags, "-o", str(target), str(home / f"{name}.c")])
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"{command[0]} refused {command[-3]}:\n{done.stderr}")
