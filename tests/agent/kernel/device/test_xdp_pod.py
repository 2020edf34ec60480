"""Where a pod finds the pinned map of its sockets."""

from hypothesis import given
from hypothesis import strategies as st

from agent.kernel.device.xdp_pod import pinned_place


@given(st.text("ab-_.:/", min_size=1))
def test_a_pinned_place_has_no_dots_and_tells_which_place_it_is(place: str) -> None:
    pinned = pinned_place(place)
    assert "." not in pinned
    assert pinned.replace("_", ".").replace("%", "_") == place
