"""What the guest's tests share: the cards, a node, and how all was before the first pod."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.pods.vf.vfs import Vfs
from tests.fastpath import cards
from tests.fastpath.agent_node import RUN, STATE, AgentNode
from tests.fastpath.cards import Pf

ROUTES = [{"dst": "10.8.0.0/16"}, {"dst": "0.0.0.0/0"}]
IPAM = {"type": "host-local", "dataDir": "/run/host-local", "subnet": "10.9.0.0/24", "routes": ROUTES}


@dataclass
class Guest:
    """The cards, a node, and what was before."""

    first: Pf
    second: Pf
    dpdk: Path  # the folder to chroot into
    node: AgentNode = field(default_factory=AgentNode)
    before: list[dict[str, Any]] = field(default_factory=list)
    vfs: Vfs | None = None

    @property
    def cards(self) -> tuple[Pf, Pf]:
        """Both, which are on one wire."""
        return self.first, self.second

    def now(self) -> list[dict[str, Any]]:
        """How the VFs are."""
        return cards.snapshots(*self.cards)

    def restored(self, after: str) -> None:
        """All is as before the first pod, and nothing of ours is left."""
        now = self.now()
        for was, is_now in zip(self.before, now, strict=True):
            for function, told in was.items():
                assert told == is_now[function], f"after {after}: {function} was {told} and is {is_now[function]}"
        left = [str(path) for folder in (STATE / "vfs", STATE / "nics", RUN / "vf") for path in folder.rglob("*.json")]
        assert not left, f"after {after}: left {left}"
        assert not list(Path("/run/host-local").glob("*/10.*")), f"after {after}: addresses are taken"

    def definition(self, function: str, **more: Any) -> dict[str, Any]:
        """A network of the first pod's."""
        return {"kind": "sriov", "deviceID": function, "ipam": IPAM, **more}
