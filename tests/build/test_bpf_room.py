"""What is too tight under the verifier's limits is told, and the shipped programs have room."""

from pathlib import Path

import pytest

from deploy.build.bpf_room import PROCESSED_AT_MOST, ROOM, costs, faults, main
from maps import paths
from maps.verified import STACK, Cost

OBJECTS = sorted(paths.objects().glob("*.bpf.o"))


@pytest.mark.kernel
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in OBJECTS])
def test_every_program_has_room(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.startswith(path.name)


@pytest.mark.kernel
def test_a_chain_of_calls_is_added_up() -> None:
    found = costs(paths.objects() / "tc_pod.bpf.o")["pod_ingress"]
    assert len(found.chain) > 3
    assert found.room == STACK - sum(found.chain)
    assert all(frame % 32 == 0 for frame in found.chain)


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        pytest.param(Cost(1000, (64, STACK - ROOM - 64)), [], id="just room enough"),
        pytest.param(
            Cost(1000, (64, STACK - ROOM)),
            [f"p leaves {ROOM - 64} octets of stack, {ROOM} wanted; its longest chain takes {(64, STACK - ROOM)}"],
            id="too little stack",
        ),
        pytest.param(
            Cost(PROCESSED_AT_MOST + 1, (64,)),
            [f"p costs the verifier {PROCESSED_AT_MOST + 1} instructions, {PROCESSED_AT_MOST} at most"],
            id="too many instructions",
        ),
    ],
)
def test_faults(cost: Cost, told: list[str]) -> None:
    assert list(faults({"p": cost})) == told
