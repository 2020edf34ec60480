"""The IPAM plugin of a device: whether another try is of use is the plugin's to say."""

import json
from pathlib import Path

import pytest

from agent.pods.device.ipam import DeviceIpam
from agent.pods.device.record import DeviceRecord, DeviceStage
from agent.pods.errors import DeviceUnusable, NoFreeAddress, PodRefused
from agent.pods.plugin import Plugins

RECORD = DeviceRecord(
    stage=DeviceStage.ADDING,
    address="nic_1",
    network="lan",
    container_id="c1",
    interface="net1",
    netns="/run/netns/p1",
    netns_cookie=1,
    asked_at_ns=1,
    config={"cniVersion": "1.0.0", "name": "lan", "ipam": {"type": "books"}},
)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        pytest.param({"code": 7, "msg": "no subnet"}, DeviceUnusable, id="its configuration"),
        pytest.param({"code": 2, "msg": "no key"}, DeviceUnusable, id="a key of it"),
        pytest.param({"code": 999, "msg": "full"}, NoFreeAddress, id="it has none now"),
        pytest.param({"code": 11, "msg": "later"}, NoFreeAddress, id="later"),
        pytest.param({}, NoFreeAddress, id="it says nothing"),
    ],
)
def test_a_configuration_that_it_cannot_use_is_no_lack_of_addresses(
    tmp_path: Path, said: dict[str, object], refusal: type[PodRefused]
) -> None:
    plugin = tmp_path / "books"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\nexit 1\n")
    plugin.chmod(0o755)
    with pytest.raises(refusal, match=r"^ipam: plugin books: ") as told:
        DeviceIpam(Plugins(tmp_path)).add(RECORD)
    assert type(told.value) is refusal


def test_one_that_is_not_there_may_come(tmp_path: Path) -> None:
    with pytest.raises(NoFreeAddress, match="there is no executable"):
        DeviceIpam(Plugins(tmp_path)).add(RECORD)
