"""The parts of the kernel that wait for something."""

from types import SimpleNamespace
from typing import cast

from agent.kernel.parts import PodProgramsPart
from agent.kernel.programs.attach import Hooks


def test_no_pods_programs_change_before_all_links_have_other_maps() -> None:
    """The one that does would not know the pod's connections."""
    moved: list[int] = []
    hooks = SimpleNamespace(guard=lambda *_: None, move_to_tcx=lambda ifindex, _: moved.append(ifindex))
    has_moved = False
    part = PodProgramsPart(cast(Hooks, hooks), has_moved=lambda: has_moved)
    for _ in part.apply({7: "veth"}):
        pass
    assert not part.is_left
    has_moved = True
    assert part.is_left
    part.piece()
    assert moved == [7]
    assert not part.is_left
