"""Kubernetes YAML in, map contents out: each ``*.txt`` here is one story.

A story begins with a sentence and goes on in sections. ``-- name.yaml --`` puts a file into the manifests folder
(empty: takes it away), ``-- maps --`` and ``-- problems --`` say what then is in the maps and what is wrong. In a story
with ``-- policy --`` policies are enforced, the pod has a VF beside, and it says what is in the maps of policy.
``-- restart --`` starts a new agent over the same maps. ``pytest --rewrite tests/scenarios`` renews what is expected.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.compile.settings import Settings
from agent.model.attachment import Attachment, DeviceInPod, Veth
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.name import ObjectName
from agent.reconcile.round import Rounds
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kinds import KINDS
from agent.watch.folder import Folder
from agent.watch.mirror import Mirror
from tests.agent.reconcile.kernels import MemoryKernel, assert_no_packet_meets_a_gap, started
from tests.scenarios.dump import dump, dump_policy

STORIES = sorted(Path(__file__).parent.glob("*.txt"))
HEADING = re.compile(r"^-- (.+) --\n", re.MULTILINE)
NODE = "node-1"
POD = Attachment(
    "c0ffee",
    "eth0",
    7,
    1,
    "/run/netns/a",
    4242,
    "02:00:00:00:00:05",
    Veth("swp0123456789", 12),
    IPv4Address("10.1.1.5"),
    pod=ObjectName("shop", "router"),
)
VF = replace(
    POD,
    interface="net1",
    endpoint_id=8,
    slot=2,
    link=Veth("", 0, in_pod=DeviceInPod("0000:03:02.0", (IPv4Address("10.9.0.5"),))),
    ipv4=IPv4Address("10.9.0.5"),
    is_first=False,
    network=ObjectName("shop", "fast"),
)
LOCAL = Local((Device(2, "eth0", (IPv4Address("192.0.2.1"),), default_route=True),), (), 1)


@dataclass
class World:
    """A node in memory: a manifests folder, the agent's way from it to the maps, and the maps."""

    kernel: MemoryKernel = field(default_factory=MemoryKernel)
    folder: Folder = field(default_factory=lambda: Folder(Decoder(NODE)))
    mirror: Mirror = field(default_factory=lambda: Mirror(lambda _cluster: None, ()))
    rounds: Rounds | None = None
    is_governed: bool = False

    def __post_init__(self) -> None:
        self.mirror.set_local(LOCAL)
        for kind in KINDS:
            self.mirror.replace(kind, ())

    def put(self, name: str, text: str) -> None:
        """Write a file, or take an empty one away."""
        self.mirror.change(self.folder.take([(name, text.encode() if text.strip() else None)]))

    def run_round(self) -> Cluster:
        """One round of the agent, on the cluster as it is now."""
        settings = Settings(NODE, network_policy=self.is_governed, multi_network_policy=self.is_governed)
        self.rounds = self.rounds or started(self.kernel, settings, (POD, VF) if self.is_governed else (POD,))
        for _ in self.rounds.round(self.mirror.cluster):
            assert_no_packet_meets_a_gap(self.kernel)
        return self.mirror.cluster

    def problems(self) -> str:
        """One line for each."""
        self.run_round()
        assert self.rounds is not None
        found = (*self.folder.problems(), *self.rounds.desired.problems)
        return "".join(f"{problem}\n" for problem in sorted(found))

    def maps(self) -> str:
        """What the maps hold."""
        self.run_round()
        return dump(self.kernel.tables)

    def policy(self) -> str:
        """What those of policy hold."""
        self.run_round()
        return dump_policy(self.kernel.tables)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Name and text of each section; what stands before the first has no name."""
    first, *rest = HEADING.split(text)
    yield "", first
    yield from zip(rest[::2], rest[1::2], strict=True)


def told_again(text: str) -> str:
    """The story with what happens in place of what was expected."""
    world, lines = World(is_governed="-- policy --" in text), []
    for name, body in sections(text):
        told = body
        match name:
            case "maps":
                told = world.maps() + "\n"
            case "policy":
                told = world.policy() + "\n"
            case "problems":
                told = world.problems() + "\n"
            case "restart":
                world.rounds = None
            case str() if name:
                world.put(name, body)
        lines.append(f"-- {name} --\n{told}" if name else told)
    return "".join(lines).rstrip("\n") + "\n"


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.read_text().partition("\n")[0])
def test_story(story: Path, pytestconfig: pytest.Config) -> None:
    expected = story.read_text()
    told = told_again(expected)
    if pytestconfig.getoption("--rewrite"):
        story.write_text(told)
    else:
        assert told == expected
