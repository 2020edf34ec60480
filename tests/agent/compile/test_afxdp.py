"""An attachment with AF_XDP is marked in its record, and its device has an MTU that a frame has room for."""

from dataclasses import replace

import pytest

from agent.kernel.net.veth import AFXDP_MTU, mtu_of
from agent.model.attachment import AfXdp, Attachment
from agent.model.local import Local
from maps import abi
from tests.agent.compile.objects import attachment, cluster
from tests.agent.reconcile.kernels import MemoryKernel, brought

PLAIN = attachment()
FAST = replace(PLAIN, link=replace(PLAIN.link, afxdp=AfXdp("pods/default/web/eth0")))


@pytest.mark.parametrize(
    ("one", "flags"),
    [
        pytest.param(FAST, abi.AttachmentFlag.ATTACHMENT_AF_XDP, id="its packets go by the device"),
        pytest.param(PLAIN, abi.AttachmentFlag(0), id="others' past it"),
    ],
)
def test_the_record_says_how_packets_get_there(one: Attachment, flags: abi.AttachmentFlag) -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster(local=Local(attachments=(one,), netns_cookie=1)))
    (record,) = (value for key, value in kernel.tables["attachments"].items() if value.endpoint_id)
    assert record.flags == flags


@pytest.mark.parametrize(("mtu", "own"), [(9000, AFXDP_MTU), (1500, 1500)])
def test_the_mtu_follows_the_others_as_far_as_a_frame_goes(mtu: int, own: int) -> None:
    assert (mtu_of(FAST.link, mtu), mtu_of(PLAIN.link, mtu)) == (own, mtu)
