"""Policy and services on real VFs and on devices of the node, in a guest of their own."""

import pytest

from tests.fastpath import run

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.fastpath]

POLICY = ("guarded", "guarded_kinds", "kept")


@pytest.mark.timeout(run.TIMEOUT_S + 60)
def test_policy_holds_on_real_vfs_in_a_guest() -> None:
    assert run.main("only", *POLICY) == 0
