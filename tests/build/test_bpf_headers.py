"""A header of the datapath includes what it needs: whoever includes it need not know in which order."""

import platform
import subprocess

import pytest

from agent.kernel.programs.build import FLAGS, Sources, compiler
from deploy.build.bpf_contracts import ROOMS

WHERE, CLANG = Sources.installed(), compiler()
PARTS = {"packet/ctx_skb.h"}  # of packet/ctx.h, which includes what they both need


@pytest.mark.skipif(CLANG is None, reason="no clang in PATH")
@pytest.mark.parametrize("room", ROOMS)
def test_a_header_compiles_alone(room: str) -> None:
    assert CLANG
    system = f"/usr/include/{platform.machine()}-linux-gnu"
    includes = [f"-I{WHERE.sources}", f"-I{WHERE.headers}", "-idirafter", system]
    command = [CLANG.path, f"@{WHERE.sources / FLAGS}", *includes, "-fsyntax-only", "-Wno-unused-function", "-xc"]
    folder = WHERE.sources / "dp"
    for path in sorted([folder / room] if room.endswith(".h") else (folder / room).glob("*.h")):
        if path.relative_to(folder).as_posix() not in PARTS:
            said = subprocess.run([*command, path], capture_output=True, text=True, check=False)
            assert not said.returncode, said.stderr
