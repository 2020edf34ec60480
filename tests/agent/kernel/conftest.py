"""Small objects to load, and a place on bpffs and in cgroup2 that is a test's own."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from agent.kernel.programs.build import compiler
from agent.options.mounts import bpffs, cgroup2, read_mountinfo
from maps import paths

HERE = Path(__file__).parent
Tiny = Callable[..., Mapping[str, Path]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The objects of ``tiny.bpf.c``, in versions that differ in their instructions and in a map of their own."""
    folder = tmp_path_factory.mktemp("tiny")
    clang = compiler()
    if clang is None:
        pytest.skip("no clang in PATH")

    def build(version: int, words: int = 1) -> Mapping[str, Path]:
        target = folder / f"{version}-{words}.bpf.o"
        if not target.exists():
            flags = (
                f"@{paths.sources()}/cflags",
                f"-I{paths.sources()}",
                f"-I{paths.headers()}",
                f"-DVERSION={version}",
                f"-DWORDS={words}",
            )
            system = ("-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu")
            command = [clang.path, *flags, *system, "-c", str(HERE / "tiny.bpf.c"), "-o", str(target)]
            subprocess.run(command, check=True)
        return {"tiny": target}

    return build


@pytest.fixture
def pin_root() -> Iterator[Path]:
    """A folder on bpffs, removed with all pins in it."""
    mounted = bpffs(read_mountinfo())
    assert mounted
    root = mounted / f"sw-kernel-{os.getpid()}"
    root.mkdir()
    yield root
    shutil.rmtree(root)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup without processes."""
    mounted = cgroup2(read_mountinfo())
    assert mounted
    folder = mounted / f"sw-kernel-{os.getpid()}"
    folder.mkdir()
    yield folder
    folder.rmdir()
