"""What real VFs are tried with, but for policy: in a guest of its own, for each computes on one processor."""

import pytest

from tests.fastpath import run
from tests.fastpath.test_guest_policy import POLICY

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.fastpath]


@pytest.mark.timeout(run.TIMEOUT_S + 60)
def test_real_vfs_in_a_guest() -> None:
    assert run.main("without", *POLICY) == 0
