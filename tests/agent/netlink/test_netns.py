"""What a path to a network namespace leads to; what the agent lacks to look at it says nothing of that."""

import errno
import os
import resource
from pathlib import Path

import pytest

from agent.netlink.netns import NoSuchNetns, open_netns

OWN = "/proc/self/ns/net"


def test_a_path_to_nothing_leads_to_no_namespace(tmp_path: Path) -> None:
    with pytest.raises(NoSuchNetns, match="No such file"), open_netns(str(tmp_path / "none"), may_be_host=True):
        pass


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_without_descriptors_nobody_is_told_that_a_namespace_is_gone(spare: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # all below are open
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)), open_netns(OWN, may_be_host=True):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
