"""Who may speak to whom, asked of the maps as the programs do (``bpf/dp/policy/``), so also when no agent lives."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from agent.compile.prefix import IPV4, KEY_BITS, MAPPED_BITS
from agent.model.address import Address, mapped
from dpctl.pinned import opened
from maps import abi
from maps.pins import Generation
from maps.table import TableLike

ADDRESS_BITS = 128
LIST_BITS = 8 * (abi.PortVerdictKey.SIZE - 4)  # of a list's key
WITH_PORTS = frozenset({6, 17, 132})  # protocols whose ports rules name
SPECS = (
    abi.NODE,
    abi.ENDPOINTS,
    abi.ATTACHMENTS,
    abi.ROUTED_RANGES,
    abi.PREFIXES,
    abi.SERVICE_ADDRS,
    abi.POD_CLASSES,
    abi.POD_POLICIES,
    abi.PEERS,
    abi.PEER_RANGES,
    abi.PEER_CLASSES,
    abi.RULE_SETS,
    abi.RULES,
    abi.PORT_VERDICTS,
    abi.POLICIES,
    abi.POLICY_COUNTERS,
)
NO_RULES = abi.PodPolicy(abi.RULES_NONE, abi.RULES_NONE, 0, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an end of a flow is, and as whom rules of others mean it."""

    slot: int = 0  # of a pod here
    is_behind: bool = False  # that routes for it
    is_own_node: bool = False
    peer_class: int = 0
    address: Address | None = None  # None: the world's
    is_vf: bool = False
    network: int = 0  # in which the class is so; 0: the cluster's


@dataclass(frozen=True, slots=True)
class Judgement:
    """What rules of one direction say."""

    accepts: bool
    policy: int = 0  # whose rules; 0: nobody's
    rules: int = abi.RULES_NONE  # the rule set that was asked
    peer_class: int = 0  # and of whom
    is_audited: bool = False  # what is denied passes
    why: str = ""  # where no rule was asked


class PolicyMaps:
    """The maps that policy is judged by."""

    def __init__(self, tables: Mapping[str, TableLike[Any, Any]]) -> None:
        self._tables = tables

    @classmethod
    @contextmanager
    def of(cls, generation: Generation) -> Iterator["PolicyMaps"]:
        """Those of a generation.

        Raises:
            Absent: one is not pinned, or another build laid them out.
        """
        with ExitStack() as stack:
            yield cls({spec.name: stack.enter_context(opened(generation, spec)) for spec in SPECS})

    @property
    def is_on(self) -> bool:
        """Whether pods have rules at all."""
        node = self._tables["node"].get(0)
        return bool(node and node.flags & abi.NodeFlag.NODE_POLICY)

    def place(self, address: Address) -> Place:
        """Where an address is."""
        key = mapped(address)
        endpoint = self._tables["endpoints"].get(key)
        if address.is_loopback or (endpoint and endpoint.flags & abi.EndpointFlag.ENDPOINT_NODE):
            return Place(is_own_node=True, peer_class=self._class_beyond(address), address=address)
        if endpoint:
            pod = self._tables["pod_classes"].get(endpoint.slot) or abi.PodClass(0, 0, 0)
            number = pod.class4 if address.version == IPV4 else pod.class6
            return Place(endpoint.slot, peer_class=number, address=address)
        behind = self._tables["routed_ranges"].get(prefix_key(address))
        slot = behind.slot if behind else 0
        return Place(slot, bool(behind), peer_class=self._class_beyond(address), address=address)

    def vf_place(self, slot: int, address: Address) -> Place:
        """Where an address of a VF is, which no device of the node's knows."""
        network = self.pod_policy(slot).network
        number = self._class_beyond(address, network)
        return Place(slot, peer_class=number, address=address, is_vf=True, network=network)

    def class_in(self, network: int, of: Place) -> int:
        """As whom rules for an interface on a network mean somebody, as ``peer_class_of()``."""
        if of.address is None or of.network == network:
            return of.peer_class
        return self._class_beyond(of.address, network)

    def world(self, version: int) -> Place:
        """Whoever has an address that no rule names the range of, but for the range of all."""
        bits = KEY_BITS + (MAPPED_BITS if version == IPV4 else 0)
        for key, found in self._tables["peer_ranges"].items():
            if (key.family, key.prefix_bits) == (version, bits):
                return Place(peer_class=found.number)
        return Place()

    def narrower_ranges(self, version: int) -> int:
        """How many ranges rules name besides that of all."""
        bits = KEY_BITS + (MAPPED_BITS if version == IPV4 else 0)
        keys = (key for key, _ in self._tables["peer_ranges"].items())
        return sum(key.family == version and key.prefix_bits > bits for key in keys)

    def is_service(self, address: Address) -> bool:
        """Whether an address is a service's and nobody else's, as ``location_of()``."""
        where = self.place(address)
        prefix = self._tables["prefixes"].get(prefix_key(address))
        if where.slot or where.is_own_node or (prefix and prefix.node_id):
            return False
        table = self._tables["service_addrs"]
        return any(table.get(abi.ServiceAddrKey(mapped(address), scope)) is not None for scope in abi.Scope)

    def pod_policy(self, slot: int) -> abi.PodPolicy:
        """What policy says of the pod at a slot; slot 0 is no pod's."""
        found: abi.PodPolicy | None = self._tables["pod_policies"].get(slot) if slot else NO_RULES
        return found or abi.PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, 0, 0)

    def attachment(self, slot: int) -> abi.Attachment | None:
        """Who has a slot."""
        found: abi.Attachment | None = self._tables["attachments"].get(slot) if slot else None
        return found

    def is_same_pod(self, one: Place, other: Place) -> bool:
        """Whether both are one pod, at whichever of its interfaces; as ``is_same_pod()``."""
        if not (one.slot and other.slot) or one.is_behind or other.is_behind:
            return False
        if one.slot == other.slot:
            return True
        first, second = self.attachment(one.slot), self.attachment(other.slot)
        if one.is_vf or other.is_vf or not (first and second):
            return False
        return first.netns != 0 and first.netns == second.netns

    def slots(self) -> Iterator[tuple[int, abi.Attachment]]:
        """The slots that pods have."""
        return ((slot, one) for slot, one in self._tables["attachments"].items() if slot and one.endpoint_id)

    def addresses(self) -> Iterator[tuple[int, IPv6Address]]:
        """The addresses of pods, by their slots."""
        return ((one.slot, address) for address, one in self._tables["endpoints"].items() if one.slot)

    def policies(self) -> dict[int, str]:
        """The policies in use, by number."""
        return {number: one.label for number, one in self._tables["policies"].items()}

    def policy(self, number: int) -> str:
        """A policy by its kind and name; its number where that is not known; empty for 0."""
        found = self._tables["policies"].get(number) if number else None
        return found.label if found else f"policy {number}" if number else ""

    def counters(self, number: int, direction: abi.Direction) -> abi.PolicyCounter:
        """What a policy's rules of a direction have judged."""
        found: abi.PolicyCounter | None = self._tables["policy_counters"].get(
            number * abi.Direction.DIRECTIONS + direction
        )
        return found or abi.PolicyCounter(0, 0, 0)

    def set_digest(self, number: int) -> str:
        """What a rule set's number stands for."""
        found = self._tables["rule_sets"].get(number)
        return found.octets.hex() if found else ""

    def class_digest(self, number: int) -> str:
        """What a class's number stands for."""
        found = self._tables["peer_classes"].get(number) if number else None
        return found.octets.hex() if found else ""

    def rules(self) -> Iterator[tuple[abi.RuleKey, abi.Rule]]:
        """All rules of all sets."""
        return self._tables["rules"].items()

    def lists(self) -> Iterator[tuple[abi.PortVerdictKey, abi.PortVerdict]]:
        """All entries of the lists of ports."""
        return self._tables["port_verdicts"].items()

    def judge(self, pod: abi.PodPolicy, peer_class: int, protocol: int, port: int, *, is_egress: bool) -> Judgement:
        """What a pod's rules of one direction say of a peer, as ``policy_judge()``."""
        number = pod.egress if is_egress else pod.ingress
        is_audited = bool(pod.flags & abi.PodPolicyFlag.POLICY_AUDITED)
        if number == abi.RULES_NONE:
            return Judgement(accepts=True, why="no policy selects it")
        rule = self._rule(number, peer_class) if number != abi.RULES_UNKNOWN else None
        if rule is None:
            return Judgement(accepts=False, rules=number, why="its rules are not here yet, so nothing passes")
        verdict, policy = self._said(rule, protocol, port)
        return Judgement(verdict == abi.PolicyVerdict.POLICY_ACCEPT, policy, number, peer_class, is_audited)

    def _rule(self, number: int, peer_class: int) -> abi.Rule | None:
        """As ``rule_find()``."""
        table = self._tables["rules"]
        rule: abi.Rule | None = table.get(abi.RuleKey(number, peer_class)) if peer_class else None
        return rule or table.get(abi.RuleKey(number, 0))

    def _said(self, rule: abi.Rule, protocol: int, port: int) -> tuple[int, int]:
        """As ``rule_judge()``."""
        if protocol not in WITH_PORTS:
            return rule.verdict, rule.policy
        for one in rule.ranges[: rule.count]:
            if one.protocol == protocol and one.low <= port <= one.high:
                return one.verdict, one.policy
        key = abi.PortVerdictKey(LIST_BITS, rule.port_list, protocol, port)
        found = self._tables["port_verdicts"].get(key) if rule.port_list else None
        return (found.verdict, found.policy) if found else (rule.verdict, rule.policy)

    def _class_beyond(self, address: Address, network: int = 0) -> int:
        """As ``peer_class_beyond()``."""
        found = self._tables["peers"].get(abi.PeerKey(mapped(address), network))
        found = found or self._tables["peer_ranges"].get(prefix_key(address))
        return found.number if found else 0


def prefix_key(address: Address) -> abi.PrefixKey:
    """The key that finds the longest prefix which contains an address."""
    return abi.PrefixKey(KEY_BITS + ADDRESS_BITS, address.version, mapped(address))
