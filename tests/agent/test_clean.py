"""Cleanup takes back what the agent has given to pods, whoever asked for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent import network_parts
from agent.clean import give_nics_back, give_vfs_back
from agent.cni.device_commands import DeviceCommands
from agent.cni.request import parse
from agent.options.config import Options
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware
from agent.pods.known import KnownAttachments
from tests.agent.pods.nic.nic_node import MASTER, SPARE, FakeNics
from tests.agent.pods.vf.vf_card import ADDRESS, FakeCard, FakeLoop, FakePrograms

BOOKS = """#!/bin/sh
echo "$CNI_COMMAND $CNI_IFNAME" >> @/called
[ $CNI_COMMAND != DEL ] || [ ! -e @/closed ] || exit 1
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]}'
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    plugin = tmp_path / "bin/books"
    plugin.parent.mkdir()
    plugin.write_text(BOOKS.replace("@", str(tmp_path)))
    plugin.chmod(0o755)
    return Options(state_dir=tmp_path / "state", run_dir=tmp_path / "run", cni_bin_dir=tmp_path / "bin")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    made = FakeCard()
    monkeypatch.setattr(network_parts, "card", lambda: made)
    monkeypatch.setattr(network_parts, "claim_addresses", lambda _: None)
    return made


def add(options: Options, kind: str, **more: Any) -> None:
    """As a plugin asks that delegates to ours, of which the agent's books of networks have nothing."""
    config: dict[str, Any] = {"cniVersion": "1.0.0", "name": "fast", "kind": kind}
    config |= more or {"deviceID": ADDRESS, "vlan": 100}
    config["ipam"] = {"type": "books"}
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/p1", "CNI_IFNAME": "net1"}
    guards = Guards(KnownAttachments(), FakeLoop(), FakePrograms())
    commands = DeviceCommands(network_parts.vfs(options, guards), network_parts.nics(options, guards, Hardware()))
    commands.add(parse(environment, json.dumps(config).encode()))


def left(options: Options) -> list[str]:
    return [*give_vfs_back(options, options.run_dir / "pins")]


def records(options: Options) -> list[str]:
    return [path.name for path in options.state_dir.rglob("*.json")]


@pytest.mark.parametrize("kind", ["sriov", "dpdk"])
def test_a_vf_that_another_plugin_asked_for_is_what_it_was(
    options: Options, card: FakeCard, tmp_path: Path, kind: str
) -> None:
    before = card.snapshot()
    add(options, kind)
    assert card.snapshot() != before
    assert left(options) == []
    assert card.snapshot() == before
    assert (tmp_path / "called").read_text().splitlines() == ["ADD net1", "DEL net1"]
    assert not (options.state_dir / "vfs").exists()


def test_a_vf_that_stays_is_told_and_the_next_cleanup_finds_it(options: Options, card: FakeCard) -> None:
    before = card.snapshot()
    add(options, "dpdk")
    card.refuses["fakevf"] = "busy"
    (why,) = left(options)
    assert why.startswith(f"VF {ADDRESS}: ")
    assert records(options) == [f"{ADDRESS}.json"]
    del card.refuses["fakevf"]
    assert left(options) == []
    assert card.snapshot() == before


def test_a_vf_whose_name_another_device_has_is_told_until_it_is_free(options: Options, card: FakeCard) -> None:
    before = card.snapshot()
    add(options, "sriov")
    card.taken.add(("", "ens1v0"))
    (why,) = left(options)
    assert "the name ens1v0" in why
    card.taken.clear()
    assert left(options) == []
    assert card.snapshot() == before


@pytest.mark.usefixtures("card")
def test_a_vf_whose_record_cannot_be_read_is_told_until_the_record_is_removed(options: Options) -> None:
    add(options, "dpdk")
    (path,) = options.state_dir.rglob("*.json")
    path.write_text("{")
    (why,) = left(options)
    assert why.startswith(f"VF {ADDRESS}: its record in the state directory cannot be read")
    assert records(options) == [f"{ADDRESS}.json"]
    path.unlink()
    assert left(options) == []
    assert not (options.state_dir / "vfs").exists()


def test_an_address_that_its_plugin_keeps_keeps_no_vf(options: Options, card: FakeCard, tmp_path: Path) -> None:
    before = card.snapshot()
    add(options, "sriov")
    (tmp_path / "closed").touch()
    assert left(options) == []
    assert (card.snapshot() == before, records(options)) == (True, [])


@pytest.fixture
def nics(monkeypatch: pytest.MonkeyPatch) -> FakeNics:
    made = FakeNics()
    monkeypatch.setattr(network_parts, "NodeNics", lambda: made)
    monkeypatch.setattr(network_parts, "claim_addresses", lambda _: None)
    return made


@pytest.mark.parametrize(
    "config",
    [{"kind": "macvlan", "master": MASTER}, {"kind": "host-device", "device": SPARE}],
    ids=lambda one: one["kind"],
)
@pytest.mark.usefixtures("card")
def test_a_device_of_the_node_that_a_pod_has_is_gone_or_home(
    options: Options, nics: FakeNics, tmp_path: Path, config: dict[str, str]
) -> None:
    before = nics.snapshot()
    add(options, **config)
    assert nics.snapshot() != before
    assert [*give_nics_back(options, options.run_dir / "pins")] == []
    assert nics.snapshot() == before
    assert (tmp_path / "called").read_text().splitlines() == ["ADD net1", "DEL net1"]
    assert not (options.state_dir / "nics").exists()


@pytest.mark.usefixtures("card")
def test_a_device_that_does_not_come_home_is_told(options: Options, nics: FakeNics) -> None:
    add(options, kind="host-device", device=SPARE)
    nics.where[SPARE] = "/run/netns/another"
    (why,) = give_nics_back(options, options.run_dir / "pins")
    assert why.startswith(f"device {SPARE}: ")
    nics.where[SPARE] = ""
    assert [*give_nics_back(options, options.run_dir / "pins")] == []
