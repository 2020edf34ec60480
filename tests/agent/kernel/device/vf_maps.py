"""The maps of a node that has VFs in pods, written without a reconcile loop; what a pod tries to be rid of programs."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from agent.compile.policy import policies
from agent.compile.policy_state import Policies
from agent.compile.settings import Settings
from agent.model.address import mapped
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from maps import abi, maglev
from maps.abi import DropReason
from maps.registry import open_table

SIZES = {name: 1024 for name, spec in abi.MAPS.items() if spec.is_sized}
PORT, SERVICE = 8080, 80
RULES = abi.RULES_FIRST  # the rule set that lets TCP to PORT pass
ZERO = IPv6Address(0)
TAKEN_OFF = (
    "tc qdisc add dev net1 clsact",
    "tc filter del dev net1 ingress",
    "tc filter del dev net1 egress",
    "tc qdisc del dev net1 clsact",
    "ip link set net1 xdp off",
    "ip link set net1 down",
    "ip link set net1 name other",
    "ip link set other name net1",
    "ip link set net1 up",
)


@dataclass
class VfMaps:
    """The maps in a folder; a loop to those who attach, whose pods have the rule set *born* until :meth:`say`."""

    folder: Path
    revision: int = 100
    born: int = abi.RULES_NONE
    attached: dict[int, Attachment] = field(default_factory=dict)  # by slot

    def attach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached[attachment.slot] = attachment
        self.say(attachment, ingress=self.born, egress=self.born)

    def detach(self, attachment: Attachment) -> None:
        """As the loop's."""
        self.attached.pop(attachment.slot, None)
        self._write(abi.ATTACHMENTS, (attachment.slot, abi.Attachment(0, 0, 0, bytes(6), abi.AttachmentFlag(0), 0)))

    def say(
        self,
        attachment: Attachment,
        *,
        ingress: int = abi.RULES_NONE,
        egress: int = abi.RULES_NONE,
        network: int = 0,
    ) -> None:
        """Say which rule sets an attachment's pod has from now on, and on which network its VF is."""
        self.revision += 1
        slot, mac = attachment.slot, bytes.fromhex(attachment.mac.replace(":", ""))
        self._write(abi.POD_POLICIES, (slot, abi.PodPolicy(ingress, egress, abi.PodPolicyFlag.POLICY_SAID, network)))
        self._write(abi.ATTACHMENTS, (slot, abi.Attachment(0, self.revision, slot, mac, abi.AttachmentFlag(0), 0)))

    def fill(self, services: Iterable[tuple[str, str]]) -> None:
        """A node with policy, the rule set, and services of one backend and their own address each."""
        node = abi.Node(ZERO, ZERO, 0, 1, 20000, 29999, 30000, 32767, 0, 0, 0, abi.NodeFlag.NODE_POLICY, 0)
        self._write(abi.NODE, (0, node))
        self.rule(RULES)
        for set_id, (backend, address) in enumerate(services, 1):
            key = abi.ServiceKey(mapped(ip_address(address)), SERVICE, 6, abi.Scope.SCOPE_INTERNAL)
            self._write(abi.SERVICES, (key, abi.Service(set_id, 0, 1, 1, 0, 0, 0)))
            at = mapped(ip_address(backend))
            self._write(abi.BACKENDS, (abi.BackendKey(set_id, 0), abi.Backend(at, PORT, abi.BackendFlag(0), 1)))
            (table,) = maglev.tables([(at, PORT)], range(1))
            self._write(abi.MAGLEVS, (abi.MaglevKey(set_id, 0), abi.Maglev(table)))

    def rule(self, rules: int) -> None:
        """A rule set that lets TCP to PORT pass."""
        none = abi.PortRange(0, 0, 0, 0, 0)
        port = abi.PortRange(PORT, PORT, 6, abi.PolicyVerdict.POLICY_ACCEPT, 1)
        ranges = (port, *[none] * (abi.RULE_RANGES - 1))
        rule = abi.Rule(0, 1, abi.PolicyVerdict.POLICY_DENY, 1, ranges)  # type: ignore[arg-type]
        self._write(abi.RULES, (abi.RuleKey(rules, 0), rule))

    def govern(self, cluster: Cluster, network: ObjectName) -> None:
        """Compile the policies of a cluster for all that are attached, to a further network, and write them."""
        those = {one.key: replace(one, network=network) for one in self.attached.values()}
        settings = Settings("n1", network_policy=True, multi_network_policy=True)
        now, update = policies(cluster, settings, frozenset(), those, Policies())
        for records in update.values():
            for name, found in records.items():
                with closing(open_table(abi.MAPS[name], self.folder)) as table:
                    table.update_packed(b"".join(found), b"".join(found.values()), len(found))
        for key, one in those.items():
            held = now.pods[key]
            self.say(one, ingress=held.ingress, egress=held.egress, network=held.network)

    def dropped(self, reason: DropReason) -> int:
        """Packets of pods and for them."""
        first = abi.Program.PROGRAM_POD * abi.Direction.DIRECTIONS
        with closing(open_table(abi.COUNTERS, self.folder)) as table:
            places = (first + way for way in range(abi.Direction.DIRECTIONS))
            found = (table.get(place * abi.COUNTER_REASONS + reason) for place in places)
            return sum(one.packets for one in found if one)

    def _write(self, spec: Any, *entries: tuple[Any, Any]) -> None:
        with closing(open_table(spec, self.folder)) as table:
            table.update(entries)
