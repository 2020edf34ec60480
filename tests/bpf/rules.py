"""What policy says of the pods of a node in miniature, written as the agent does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from maps import abi
from tests.bpf.datapath import Datapath, addr, prefix_key

TCP, UDP, SCTP = 6, 17, 132
NO_FLAG = abi.NodeFlag(0)
NO_RANGE = abi.PortRange(0, 0, 0, 0, 0)
EVERYBODY = 0
ACCEPT, DENY = abi.PolicyVerdict.POLICY_ACCEPT, abi.PolicyVerdict.POLICY_DENY
Range = tuple[int, int, int, abi.PolicyVerdict]  # protocol, first and last port, verdict


def said(
    verdict: abi.PolicyVerdict, *ranges: Range, policy: int = 1, ports_of: int = 2, port_list: int = 0
) -> abi.Rule:
    """A rule of *policy*'s, and what is so of some ports by *ports_of*."""
    found = [abi.PortRange(low, high, protocol, held, ports_of) for protocol, low, high, held in ranges]
    filled = (*found, *[NO_RANGE] * (abi.RULE_RANGES - len(found)))
    return abi.Rule(port_list, policy, verdict, len(ranges), filled)  # type: ignore[arg-type]


Rules = Mapping[int, abi.Rule]  # by class
NOTHING: Rules = {EVERYBODY: said(DENY)}
ALL: Rules = {EVERYBODY: said(ACCEPT)}


@dataclass
class Policed:
    """A node whose pods have rules, on *node*'s maps; a pod of which nothing was said is not known."""

    node: Datapath
    numbers: int = abi.RULES_FIRST

    def flags(self, more: abi.NodeFlag = NO_FLAG, revision: int = 1) -> None:
        """Write the node's record."""
        self.node.node(revision, flags=abi.NodeFlag.NODE_POLICY | more)
        self.node.forget_locations()

    def rules(self, said_of: Rules) -> int:
        """A rule set; returns its number."""
        self.numbers += 1
        self.node.tables["rules"].update([(abi.RuleKey(self.numbers, of), rule) for of, rule in said_of.items()])
        return self.numbers

    def pod(
        self,
        address: str,
        *,
        ingress: Rules | None = None,
        egress: Rules | None = None,
        peer_class: int = EVERYBODY,
        audited: bool = False,
        known: bool = True,
    ) -> None:
        """What is so of the pod with an address from now on; None: no policy selects it."""
        slot = self.slot(address)
        into, out = abi.RULES_UNKNOWN, abi.RULES_UNKNOWN
        if known:
            into, out = (abi.RULES_NONE if one is None else self.rules(one) for one in (ingress, egress))
        flags = abi.PodPolicyFlag.POLICY_AUDITED if audited else abi.PodPolicyFlag(0)
        self.node.tables["pod_classes"].update([(slot, abi.PodClass(peer_class, peer_class, 1))])
        self.node.tables["pod_policies"].update([(slot, abi.PodPolicy(into, out, flags, 0))])
        self.revise(slot)

    def revise(self, slot: int) -> None:
        """Have the flows of a slot judged anew."""
        held = self.node.tables["attachments"].get(slot)
        assert held is not None
        again = abi.Attachment(held.ifindex, held.revision + 1, held.endpoint_id, held.mac, held.flags, held.netns)
        self.node.tables["attachments"].update([(slot, again)])

    def join(self, *addresses: str) -> None:
        """Have the interfaces with these addresses be one pod's."""
        for address in addresses:
            slot = self.slot(address)
            held = self.node.tables["attachments"].get(slot)
            assert held is not None
            self.node.tables["attachments"].update([(slot, replace(held, netns=4711))])

    def slot(self, address: str) -> int:
        """The slot of the pod with an address."""
        found = self.node.tables["endpoints"].get(addr(address))
        assert found is not None
        return int(found.slot)

    def peer(self, address: str, peer_class: int, network: int = 0) -> None:
        """The class of an address that is no pod's of this node, in a network."""
        self.node.tables["peers"].update([(abi.PeerKey(addr(address), network), abi.PeerClass(peer_class))])

    def range(self, network: str, peer_class: int) -> None:
        """The class of a range."""
        self.node.tables["peer_ranges"].update([(prefix_key(network), abi.PeerClass(peer_class))])

    def ports(self, number: int, blocks: Sequence[tuple[int, int, int, abi.PolicyVerdict]]) -> None:
        """A list of ports, in blocks: protocol, first port, how many bits its ports share, verdict."""
        self.node.tables["port_verdicts"].update(
            [
                (abi.PortVerdictKey(48 + bits, number, protocol, port), abi.PortVerdict(3, verdict))
                for protocol, port, bits, verdict in blocks
            ]
        )

    def counted(self, policy: int, direction: abi.Direction) -> tuple[int, int, int]:
        """What was accepted, denied and audited by a policy's rules."""
        found = self.node.tables["policy_counters"].get(policy * abi.Direction.DIRECTIONS + direction)
        assert found is not None
        return found.accepted, found.denied, found.audited

    def forget_drops(self) -> None:
        """Empty the ring of what was dropped last."""
        drops = self.node.tables["drops"]
        keys = b"".join(drops.spec.key.pack(index) for index in range(drops.max_entries))
        drops.update_packed(keys, bytes(abi.DropEvent.SIZE * drops.max_entries), drops.max_entries)

    def drops(self) -> list[abi.DropEvent]:
        """What was kept of the packets that were dropped since."""
        return [event for _, event in self.node.tables["drops"].items() if event.at_ns]
