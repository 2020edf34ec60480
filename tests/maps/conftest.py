"""Objects for the tests of maps/, compiled from C where the test stands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from maps import abigen, exports, paths

HERE = Path(__file__).parent
Compile = Callable[[str], Path]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile C text to an object as `make build` compiles the dataplane."""
    if shutil.which("clang-19") is None:
        missing = pytest.fail if "kernel" in os.environ.get("SLUICEWAY_REQUIRE", "") else pytest.skip
        missing("clang-19 is not installed")
    folder = tmp_path_factory.mktemp("objects")

    def compiled(source: str) -> Path:
        path = folder / f"{uuid4().hex}.bpf.c"
        path.write_text(source)
        target = path.with_suffix(".o")
        flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-I{paths.headers()}"]
        system = ["-idirafter", f"/usr/include/{sys.implementation._multiarch}"]  # noqa: SLF001
        subprocess.run(["clang-19", *flags, *system, "-c", str(path), "-o", str(target)], check=True)
        return target

    return compiled


@pytest.fixture(scope="session")
def layout_object(compile_c: Compile) -> Path:
    """The object of layout.bpf.c."""
    return compile_c((HERE / "layout.bpf.c").read_text())


@pytest.fixture(scope="session")
def twin(layout_object: Path) -> ModuleType:
    """What abigen writes for layout.bpf.c, imported."""
    module = ModuleType("layout_twin")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    text = abigen.generate(exports.collect([layout_object]))
    exec(compile(text, "layout_twin.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    return module


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A directory in bpffs that is gone afterwards."""
    path = Path(f"/sys/fs/bpf/swtest-maps-{uuid4().hex[:8]}")
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)
