"""A machine that has the wheel and nothing of the checkout can run the agent and dpctl."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.build.conftest import CHECKOUT

# building, and installing what it depends on
pytestmark = pytest.mark.timeout(900)

LOAD_EVERY_OBJECT = """
from maps import paths
from maps.libbpf import Object
assert paths.is_shipped(), paths.__file__
found = sorted(paths.objects().glob("*.bpf.o"))
for path in found:
    program = Object.open(path)
    program.load()
    program.close()
    print(path.name)
"""

OWN_KEY = """
from agent.kernel.programs.build import Sources, key
where = Sources.installed()
print(key(where) == (where.objects / "key").read_text().strip())
"""


def run(environment: Path, *command: str) -> str:
    """What *command* of the environment's bin prints, run away from the checkout."""
    argv = [str(environment / "bin" / command[0]), *command[1:]]
    done = subprocess.run(argv, cwd=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("maps/_shipped/bpf/tc_pod.bpf.c", id="the BPF sources are in the wheel"),
        pytest.param("maps/_shipped/bpf/dp/abi/types.h", id="the headers of the BPF sources are in the wheel"),
        pytest.param("maps/_shipped/bpf/cflags", id="the flags they are compiled with are in the wheel"),
        pytest.param("maps/_shipped/include/bpf/bpf_helpers.h", id="libbpf's headers are in the wheel"),
        pytest.param("maps/_shipped/objects/tc_pod.bpf.o", id="the objects are in the wheel"),
        pytest.param("maps/_shipped/objects/key", id="what the objects were made of is in the wheel"),
        pytest.param("maps/_shipped/cni/sluiceway-cni", id="the CNI shim is in the wheel"),
        pytest.param("maps/_shipped/cni/LICENSE.musl", id="the licence of the shim's libc is in the wheel"),
        pytest.param("maps/_libbpf", id="the extension is in the wheel"),
    ],
)
def test_contents(wheel: Path, name: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(found.startswith(name) for found in archive.namelist())


def test_the_wheel_has_neither_lab_nor_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.startswith("sluiceway-")} == {"agent", "maps", "dpctl", "kubectl_sluiceway"}


def test_the_shim_is_static_and_executable(environment: Path) -> None:
    shim = run(environment, "python", "-c", "from maps import paths; print(paths.cni_binary())").strip()
    assert Path(shim).stat().st_mode & 0o111
    linked = subprocess.run(["ldd", shim], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in linked.stderr


def test_the_agent_explains_its_options(environment: Path) -> None:
    assert "cleanup" in run(environment, "sluiceway-agent", "--help")
    assert "pin-root" in run(environment, "sluiceway-agent", "config")


def test_dpctl_explains_its_commands(environment: Path) -> None:
    assert "service" in run(environment, "dpctl", "--help")


def test_the_shipped_objects_are_those_of_the_shipped_sources(environment: Path) -> None:
    assert run(environment, "python", "-c", OWN_KEY) == "True\n"


@pytest.mark.kernel
def test_every_program_is_shipped_and_loads(environment: Path) -> None:
    loaded = run(environment, "python", "-c", LOAD_EVERY_OBJECT).split()
    assert loaded == sorted(f"{path.stem}.o" for path in (CHECKOUT / "bpf").glob("*.bpf.c"))
    assert {"sock.bpf.o", "tc_pod.bpf.o", "tc_uplink.bpf.o", "tc_vf.bpf.o", "xdp.bpf.o", "xdp_pod.bpf.o"} <= {*loaded}
