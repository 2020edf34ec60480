"""``dpctl policy list`` and ``dpctl policy show``: which policies there are, and what they say of one pod."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from agent.compile.policy_ids import LAST_CLASS
from agent.model.address import unmapped
from agent.model.policy import AUDIT, MODE
from dpctl.errors import Absent
from dpctl.judge import LIST_BITS, Judgement, PolicyMaps
from dpctl.names import Names, is_at_slot
from dpctl.output import Column, Table
from dpctl.policy_text import VERDICTS, direction_word, isolating, range_text, rule_text, rules_of
from maps import abi

SHOWN = 3  # pods of a policy in a table


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One policy in one of its directions."""

    policy: str  # kind and name
    direction: str
    selects: str  # in words
    pods: tuple[str, ...]  # of this node
    accepted: int  # flows, each time that they were judged
    denied: int  # packets
    audited: int  # packets that would have been denied


@dataclass(frozen=True, slots=True)
class RuleRow:
    """What may come in to a pod or go out of it, or may not."""

    way: str  # "in" or "out"
    verdict: str  # accepted, denied, passed on to the policies after it, audited
    what: str
    by: str  # the policy with its rule


LIST: tuple[Column[PolicyRow], ...] = (
    Column("POLICY", lambda r: r.policy),
    Column("DIRECTION", lambda r: r.direction),
    Column("SELECTS", lambda r: r.selects),
    Column("PODS", lambda r: _few(r.pods)),
    Column("ACCEPTED FLOWS", lambda r: str(r.accepted), right=True),
    Column("DENIED PACKETS", lambda r: str(r.denied), right=True),
    Column("AUDITED PACKETS", lambda r: str(r.audited), right=True),
)
SHOW: tuple[Column[RuleRow], ...] = (
    Column("WAY", lambda r: r.way),
    Column("VERDICT", lambda r: r.verdict),
    Column("WHAT", lambda r: r.what),
    Column("BY", lambda r: r.by),
)


def policy_table(maps: PolicyMaps, names: Names) -> Table[PolicyRow]:
    """The policies that select pods of this node, by name."""
    pods = _pods_by_policy(maps, names)
    rows = []
    for number, label in maps.policies().items():
        words = names.report.policies.get(label)
        for is_egress in (False, True):
            found = pods.get((label, is_egress))
            if found is None:
                continue
            counted = maps.counters(number, abi.Direction(is_egress))
            side, selects = direction_word(is_egress=is_egress), words.subject if words else ""
            said = (counted.accepted, counted.denied, counted.audited)
            rows.append(PolicyRow(label, side, selects, tuple(sorted(found)), *said))
    return Table(LIST, sorted(rows, key=lambda row: (row.policy, row.direction == "egress")))


def pod_table(maps: PolicyMaps, names: Names, pod: str) -> Table[RuleRow]:
    """What may come in to a pod of this node and go out.

    Raises:
        Absent: it is no pod of this node that is known.
    """
    policy = maps.pod_policy(slot_of(maps, names, pod)) if maps.is_on else None
    rows: list[RuleRow] = []
    for is_egress in (False, True):
        rows += _side(maps, names, policy, is_egress=is_egress)
    return Table(SHOW, rows)


def slot_of(maps: PolicyMaps, names: Names, pod: str) -> int:
    """The slot of a pod, by namespace/name or by its address.

    Raises:
        Absent: it is no pod of this node that is known.
    """
    known = names.pod(pod)
    if known is not None:
        if not is_at_slot(known, maps.attachment(known.slot)):
            raise Absent(f"{pod} is no pod of this node's; its own node has its rules. Type: dpctl policy list")
        return known.slot
    try:
        slot = maps.place(ip_address(pod)).slot
    except ValueError:
        raise Absent(f"no pod {pod} is known here{_missing(names)}; type: dpctl endpoint list") from None
    if not slot:
        raise Absent(f"no pod of this node has the address {pod}; type: dpctl endpoint list")
    return slot


def slot_names(maps: PolicyMaps, names: Names) -> dict[int, str]:
    """Each pod's slot with its name, or its address where that is not known."""
    found = {slot: names.at_slot(slot, one) for slot, one in maps.slots()}
    for slot, address in sorted(maps.addresses(), key=lambda one: one[1].ipv4_mapped is None):
        if not found.get(slot) and not address.is_link_local:
            found[slot] = str(unmapped(address))
    return {slot: name or f"slot {slot}" for slot, name in found.items()}


def _missing(names: Names) -> str:
    return "" if names.is_there else " (the agent has left no names; an address does)"


def _few(pods: tuple[str, ...]) -> str:
    more = f", ... {len(pods)}" if len(pods) > SHOWN else ""
    return ", ".join(pods[:SHOWN]) + more


def _pods_by_policy(maps: PolicyMaps, names: Names) -> dict[tuple[str, bool], list[str]]:
    """The pods that each policy selects, in each of its directions."""
    found: dict[tuple[str, bool], list[str]] = {}
    spoken: dict[int, tuple[str, ...]] = {}
    mentioned: dict[int, set[int]] | None = None
    for slot, name in slot_names(maps, names).items():
        policy = maps.pod_policy(slot)
        for is_egress, number in ((False, policy.ingress), (True, policy.egress)):
            if number < abi.RULES_FIRST:
                continue
            if number not in spoken:
                words = names.report.sets.get(maps.set_digest(number))
                if words is None and mentioned is None:
                    mentioned = _mentioned(maps)
                labels = words.policies if words else map(maps.policy, (mentioned or {}).get(number, ()))
                spoken[number] = tuple(labels)
            for label in spoken[number]:
                found.setdefault((label, is_egress), []).append(name)
    return found


def _mentioned(maps: PolicyMaps) -> dict[int, set[int]]:
    """The policies that each rule set's rules are of: all but those that say nothing which another has not said."""
    by_list: dict[int, set[int]] = {}
    for entry, verdict in maps.lists():
        by_list.setdefault(entry.port_list, set()).add(verdict.policy)
    found: dict[int, set[int]] = {}
    for key, rule in maps.rules():
        ranged = {one.policy for one in rule.ranges[: rule.count]}
        found.setdefault(key.rules, set()).update({rule.policy}, ranged, by_list.get(rule.port_list, ()))
    return {number: policies - {0} for number, policies in found.items()}


def _side(maps: PolicyMaps, names: Names, policy: abi.PodPolicy | None, *, is_egress: bool) -> Iterator[RuleRow]:
    way = "out" if is_egress else "in"
    if policy is None:
        yield RuleRow(way, "accepted", "everything: the agent's --network-policy is off", "")
        return
    number = policy.egress if is_egress else policy.ingress
    if number == abi.RULES_NONE:
        yield RuleRow(way, "accepted", "everything: no policy selects the pod", "")
        return
    if number == abi.RULES_UNKNOWN:
        yield RuleRow(way, "denied", "everything: the pod's rules are not here yet", "")
        return
    yield from _rules(maps, names, number, way, is_egress=is_egress)
    if policy.flags & abi.PodPolicyFlag.POLICY_AUDITED:
        yield RuleRow(way, "audited", f"what is denied passes, and is counted: {MODE}: {AUDIT}", "the pod's Namespace")


def _rules(maps: PolicyMaps, names: Names, number: int, way: str, *, is_egress: bool) -> Iterator[RuleRow]:
    own = names.report.sets.get(maps.set_digest(number))
    always = "everything to itself" if is_egress else "everything from its own node and from itself"
    yield RuleRow(way, "accepted", always, "always so")
    if own is None or any(label not in names.report.policies for label in own.policies):
        yield from _numbers(maps, names, number, way)
        return
    for label in own.policies:
        for found in rules_of(names.report.policies[label], is_egress=is_egress):
            text = rule_text(names, found.rule, own, is_egress=is_egress)
            yield RuleRow(way, VERDICTS.get(found.rule.verdict, ""), text, f"{label} {found.where}")
    by = isolating(names, maps, Judgement(accepts=False, rules=number))
    yield RuleRow(way, "denied" if by else "accepted", "everything else", ", ".join(by))


def _numbers(maps: PolicyMaps, names: Names, number: int, way: str) -> Iterator[RuleRow]:
    """A rule set as the maps alone have it."""
    classes: dict[abi.Rule, list[int]] = {}
    for key, rule in sorted(maps.rules(), key=lambda one: one[0].peer_class or LAST_CLASS):
        if key.rules == number:
            classes.setdefault(rule, []).append(key.peer_class)
    for rule, found in classes.items():
        peer = f"{'to' if way == 'out' else 'from'} {' or '.join(_class(maps, names, one) for one in found)}"
        listed = _listed(maps, rule.port_list) if rule.port_list else ()
        for one in (*rule.ranges[: rule.count], *listed):
            yield _number(maps, way, one, f"{range_text(one.protocol, one.low, one.high)} {peer}")
        is_ranged = rule.count or rule.port_list
        yield _number(maps, way, rule, f"everything {'else ' if is_ranged else ''}{peer}")


def _class(maps: PolicyMaps, names: Names, number: int) -> str:
    atoms = names.atoms(maps.class_digest(number)) or ()
    return names.peers(tuple(sorted(atoms))) or (f"class {number}" if number else "everybody else")


def _listed(maps: PolicyMaps, number: int) -> list[abi.PortRange]:
    """The ranges of a list of ports, whose entries are aligned blocks; blocks that touch and say the same are one."""
    found: list[abi.PortRange] = []
    entries = sorted(((key, said) for key, said in maps.lists() if key.port_list == number), key=_place)
    for key, said in entries:
        high = key.port + (1 << (LIST_BITS - key.prefix_bits)) - 1
        last = found[-1] if found else None
        is_more = last and (last.protocol, last.high + 1) == (key.protocol, key.port)
        if last and is_more and (last.verdict, last.policy) == (said.verdict, said.policy):
            found[-1] = abi.PortRange(last.low, high, last.protocol, last.verdict, last.policy)
        else:
            found.append(abi.PortRange(key.port, high, key.protocol, said.verdict, said.policy))
    return found


def _place(entry: tuple[abi.PortVerdictKey, abi.PortVerdict]) -> tuple[int, int]:
    return entry[0].protocol, entry[0].port


def _number(maps: PolicyMaps, way: str, said: abi.Rule | abi.PortRange, text: str) -> RuleRow:
    verdict = "accepted" if said.verdict == abi.PolicyVerdict.POLICY_ACCEPT else "denied"
    return RuleRow(way, verdict, text, maps.policy(said.policy))
