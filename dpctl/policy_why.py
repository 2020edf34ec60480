"""``dpctl policy why``: whether one end may ask another, and which policy and rule says so, of what begins now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from agent.model.address import Address, mapped, unmapped
from dpctl.errors import Unanswered
from dpctl.format import protocol as protocol_name
from dpctl.judge import WITH_PORTS, Judgement, Place, PolicyMaps
from dpctl.names import Names, is_at_slot
from dpctl.output import Column, Table
from dpctl.policy_text import Asked, decider, direction_word, isolating, rule_text
from maps import abi

WORLD = "world"
ICMP = {4: 1, 6: 58}  # by family


@dataclass(frozen=True, slots=True)
class WhyRow:
    """What is said in one direction, in one family."""

    verdict: str  # accepted, denied, audited (denied but for the Namespace), elsewhere (its own node says)
    direction: str  # ingress, or egress
    family: str
    pod: str  # whose rules were asked
    peer: str  # of whom
    port: str
    policy: str  # kind and name of the one that decides
    rule: str  # of that policy: where it stands, and what it says
    why: str  # where no rule decides
    peer_class: int  # as which the peer was known
    peer_is: str  # and what that stands for


WHY: tuple[Column[WhyRow], ...] = (
    Column("VERDICT", lambda r: r.verdict),
    Column("DIRECTION", lambda r: f"{r.direction} {r.family}"),
    Column("POD", lambda r: r.pod),
    Column("PEER", lambda r: r.peer),
    Column("PORT", lambda r: r.port),
    Column("POLICY", lambda r: r.policy),
    Column("WHY", lambda r: r.rule or r.why),
    Column("PEER IS", lambda r: r.peer_is),
)


@dataclass(frozen=True, slots=True)
class Party:
    """An end as it was asked for, with where it is in each family; the world is wherever nobody is."""

    text: str
    places: Mapping[int, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: may *client* ask *server*."""

    client: Party
    server: Party
    protocol: int  # IANA's
    port: int

    def families(self) -> tuple[int, ...]:
        """Those that both have."""
        return tuple(version for version in (4, 6) if version in self.client.places and version in self.server.places)


def party(maps: PolicyMaps, names: Names, text: str) -> Party:
    """Who is meant: a pod, an address, a node, or the world.

    Raises:
        Unanswered: nobody that is known.
    """
    if text == WORLD:
        return Party(text, {version: maps.world(version) for version in (4, 6)})
    pod = names.pod(text)
    if pod is not None and pod.slot and not is_at_slot(pod, maps.attachment(pod.slot)):
        raise Unanswered(f"{text} is here no more; the agent's names are of another moment. Type: dpctl policy list")
    addresses = pod.addresses if pod is not None else names.report.nodes.get(text, (text,))
    found: dict[int, Address] = {}
    for one in addresses:
        try:
            address = unmapped(mapped(ip_address(one)))
        except ValueError:
            raise Unanswered(_nobody(names, text)) from None
        found.setdefault(address.version, address)
    if pod is not None and pod.is_vf:
        return Party(text, {version: maps.vf_place(pod.slot, address) for version, address in found.items()})
    if any(map(maps.is_service, found.values())):
        raise Unanswered(f"{text} is a service's address; ask for one of its backends. Type: dpctl backend list")
    owner = names.owner(next(iter(found.values()))) if text not in {*names.report.nodes, *names.report.pods} else ""
    places = {version: maps.place(address) for version, address in found.items()}
    return Party(f"{text} ({owner})" if owner else text, places)


def why_table(maps: PolicyMaps, names: Names, question: Question) -> Table[WhyRow]:
    """What each direction says, of what begins now; a flow that goes on was judged by the same rules.

    Raises:
        Unanswered: neither end is a pod of this node, or they have no family in common.
    """
    rows: list[WhyRow] = []
    for version in question.families():
        rows += _family(maps, names, question, version)
    if not rows:
        raise Unanswered(f"{question.client.text} and {question.server.text} have no address of one family")
    if all(row.verdict == "elsewhere" for row in rows):
        raise Unanswered("neither end is a pod of this node, so nothing is judged here; ask on the nodes of the pods")
    return Table(WHY, rows)


def is_denied(table: Table[WhyRow]) -> bool:
    """Whether something does not pass."""
    return any(row.verdict == "denied" for row in table.rows)


def _nobody(names: Names, text: str) -> str:
    if not names.is_there:
        return f"{text!r} is no address, and the agent has left no names; give an address, or {WORLD}"
    return (
        f"{text!r} is no pod or node that is known here, no address, and not {WORLD}. Pods of other nodes are known"
        " while policies mean pods; one in its node's network is its node"
    )


def _family(maps: PolicyMaps, names: Names, question: Question, version: int) -> Iterator[WhyRow]:
    client, server = question.client.places[version], question.server.places[version]
    number = ICMP[version] if question.protocol in ICMP.values() else question.protocol
    for is_egress in (True, False):
        subject, of = (client, server) if is_egress else (server, client)
        ends = (question.client.text, question.server.text)
        pod, peer = ends if is_egress else ends[::-1]
        said = _always(maps, client, server, is_egress=is_egress)
        policy = maps.pod_policy(subject.slot)
        of = replace(of, peer_class=maps.class_in(policy.network, of), network=policy.network)
        if said is None and subject.slot:
            said = maps.judge(policy, of.peer_class, number, question.port, is_egress=is_egress)
        verdict, label, rule, why = _row(maps, names, said, Asked(number, question.port, is_egress))
        is_asked = said is not None and said.rules >= abi.RULES_FIRST
        yield WhyRow(
            verdict=verdict,
            direction=direction_word(is_egress=is_egress),
            family=f"IPv{version}",
            pod=pod,
            peer=peer,
            port=f"{protocol_name(number)} {question.port}" if number in WITH_PORTS else protocol_name(number),
            policy=label,
            rule=rule,
            why=why,
            peer_class=of.peer_class,
            peer_is=_peer_is(maps, names, of, version, is_world=peer == WORLD) if is_asked else "",
        )


def _always(maps: PolicyMaps, client: Place, server: Place, *, is_egress: bool) -> Judgement | None:
    """What holds whatever the rules say; None: the rules are asked, if the pod is here."""
    if not maps.is_on:
        return Judgement(accepts=True, why="the agent's --network-policy is off")
    known = (maps.pod_policy(client.slot).egress, maps.pod_policy(server.slot).ingress)
    if maps.is_same_pod(client, server):
        return None if abi.RULES_UNKNOWN in known else Judgement(accepts=True, why="a pod always reaches itself")
    if not is_egress and server.slot and not server.is_vf and client.is_own_node and known[1] != abi.RULES_UNKNOWN:
        return Judgement(accepts=True, why="a pod's own node always reaches it")
    return None


def _row(maps: PolicyMaps, names: Names, said: Judgement | None, asked: Asked) -> tuple[str, str, str, str]:
    """Verdict, policy, rule, and why where no rule decides."""
    if said is None:
        return "elsewhere", "", "", "no pod of this node; where it is another's, that one judges"
    if said.why:
        return ("accepted" if said.accepts else "denied"), "", "", said.why
    verdict = "accepted" if said.accepts else "audited" if said.is_audited else "denied"
    found = decider(names, maps, said, asked)
    if found is not None:
        own = names.report.sets.get(maps.set_digest(said.rules))
        text = f"{found.where}: {rule_text(names, found.rule, own, is_egress=asked.is_egress)}"
        return verdict, maps.policy(said.policy), text, ""
    if said.accepts:
        return verdict, maps.policy(said.policy), "", "" if said.policy else "no rule of its policies means this"
    return verdict, maps.policy(said.policy), "", f"no rule of {', '.join(isolating(names, maps, said))} accepts this"


def _peer_is(maps: PolicyMaps, names: Names, of: Place, version: int, *, is_world: bool) -> str:
    if not of.peer_class:
        words = "whom no rule means in particular"
    else:
        words = (
            names.peers(tuple(sorted(names.atoms(maps.class_digest(of.peer_class)) or ()))) or f"class {of.peer_class}"
        )
    narrower = maps.narrower_ranges(version) if is_world else 0
    return f"{words}; but for {narrower} ranges that rules name" if narrower else words
