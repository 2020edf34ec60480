"""Values of the model as the API's JSON has them, as far as the benches have such."""

from collections.abc import Iterator, Mapping

from agent.model.node import Namespace
from agent.model.policy import CidrPeer, Peer, PeerPod, PodPeer, Policy, PortRange, Rule, Selector
from bench.api_server import Object


def namespace(one: Namespace) -> Object:
    """A Namespace."""
    return {"metadata": {"name": one.name, "labels": dict(one.labels)}}


def pod(one: PeerPod, node: str, uid: str) -> Object:
    """A Pod that runs."""
    ports = [{"name": port.name, "containerPort": port.number, "protocol": port.protocol.name} for port in one.ports]
    metadata = {"namespace": one.name.namespace, "name": one.name.name, "uid": uid, "labels": dict(one.labels)}
    return {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": [{"ip": str(address)} for address in one.ips]},
    }


def network_policy(one: Policy) -> Object:
    """A NetworkPolicy."""
    spec: Object = {"podSelector": _selector(one.subject.pods), "policyTypes": []}
    types: list[str] = []
    for kind, side, rules in (("Ingress", "from", one.ingress), ("Egress", "to", one.egress)):
        if rules is not None:
            types.append(kind)
            spec[kind.lower()] = [_rule(rule, side) for rule in rules]
    return {
        "metadata": {"namespace": one.name.namespace, "name": one.name.name},
        "spec": {**spec, "policyTypes": types},
    }


def _rule(one: Rule, side: str) -> Object:
    made: Object = {}
    if one.peers is not None:
        made[side] = [_peer(peer) for peer in one.peers]
    if one.ports is not None:
        made["ports"] = [*_ports(one)]
    return made


def _peer(one: Peer) -> Object:
    match one:
        case PodPeer(pods, namespaces, own):
            return {"podSelector": _selector(pods), **({} if own else {"namespaceSelector": _selector(namespaces)})}
        case CidrPeer(cidr, excepts):
            return {"ipBlock": {"cidr": str(cidr), "except": [str(each) for each in excepts]}}
        case _:
            raise ValueError(one)


def _ports(one: Rule) -> Iterator[Mapping[str, object]]:
    for port in one.ports or ():
        if not isinstance(port, PortRange):
            raise ValueError(port)  # noqa: TRY004  the benches have numbers alone
        yield {"protocol": port.protocol.name, "port": port.low, "endPort": port.high}


def _selector(one: Selector) -> Object:
    return {
        "matchExpressions": [
            {"key": each.key, "operator": each.operator.value, "values": sorted(each.values)}
            for each in one.requirements
        ]
    }
