"""The guest is run beside the lab's tests: it takes one processor, and they wait more than they work."""

import pytest

from tests.fastpath import run

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.fastpath]


@pytest.mark.timeout(run.TIMEOUT_S + 60)
def test_real_vfs_in_a_guest() -> None:
    assert run.main() == 0
