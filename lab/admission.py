"""What the API server makes of a Service that somebody applies: defaults, cluster addresses, node ports.

Pure: the Services there are go in, the Service as it is stored comes out. Only what the agents and the endpoints
controller read is defaulted.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from lab.addresses import NODE_PORTS, SERVICES4, SERVICES6
from lab.errors import LabError
from lab.manifests import Object, name, namespace

_RANGES: Mapping[str, IPv4Network | IPv6Network] = {"IPv4": SERVICES4, "IPv6": SERVICES6}
_FIRST = 16  # host numbers below are left to those who choose their own, as Kubernetes does with its lower band
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def service(given: Object, others: Iterable[Object], before: Object | None) -> Object:
    """The Service *given* as it is stored, beside *others*; what it got *before*, it keeps.

    Raises:
        LabError: an address or a port is taken, or lies outside the cluster's range.
    """
    spec = dict(given.get("spec") or {})
    old: Mapping[str, Any] = (before or {}).get("spec", {})
    others = tuple(others)
    title = f"Service {namespace(given)}/{name(given)}"
    spec.setdefault("type", "ClusterIP")
    spec["ports"] = [_port(port) for port in spec.get("ports") or ()]
    if spec["type"] != "ExternalName":
        spec |= _cluster_ips(title, spec, old, {ip for other in others for ip in _ips(other)})
    if spec["type"] in _WITH_NODE_PORTS:
        spec["ports"] = list(_node_ports(title, spec["ports"], old, _taken_ports(others)))
    metadata = {**given["metadata"], "namespace": namespace(given)}
    return {**given, "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    return {"protocol": "TCP", "targetPort": port.get("port"), **port}


def _cluster_ips(title: str, spec: Mapping[str, Any], old: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    wanted = list(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []))
    families = _families(spec, wanted)
    if "None" in wanted:
        return {"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": families}
    kept = {_family(ip): ip for ip in old.get("clusterIPs", ()) if ip != "None"}
    chosen = {_family(ip): ip for ip in wanted}
    for family, address in chosen.items():
        if address in taken:
            raise LabError(f"{title}: spec.clusterIPs: {address} belongs to another Service")
        if ip_address(address) not in _RANGES[family]:
            raise LabError(f"{title}: spec.clusterIPs: {address} is not in {_RANGES[family]}")
    found = [chosen.get(family) or kept.get(family) or _free_address(family, taken) for family in families]
    return {"clusterIP": found[0], "clusterIPs": found, "ipFamilies": families}


def _families(spec: Mapping[str, Any], wanted: list[str]) -> list[str]:
    """The families of a Service in their order: as asked, as its addresses are, else IPv4."""
    asked = list(spec.get("ipFamilies") or [_family(ip) for ip in wanted if ip != "None"] or ["IPv4"])
    if spec.get("ipFamilyPolicy", "SingleStack") == "SingleStack":
        return asked if len(wanted) > 1 else asked[:1]
    return asked + [family for family in _RANGES if family not in asked]


def _free_address(family: str, taken: set[str]) -> str:
    network = _RANGES[family]
    number = next(n for n in range(_FIRST, min(network.num_addresses, 1 << 16)) if str(network[n]) not in taken)
    return str(network[number])


def _node_ports(
    title: str, ports: list[dict[str, Any]], old: Mapping[str, Any], taken: set[tuple[str, int]]
) -> Iterator[dict[str, Any]]:
    kept = {(port["protocol"], port["port"]): port.get("nodePort") for port in old.get("ports", ())}
    by_port: dict[int, int] = {}
    first, last = NODE_PORTS
    for port in ports:
        wanted = port.get("nodePort")
        if wanted and (port["protocol"], wanted) in taken:
            raise LabError(f"{title}: spec.ports: node port {wanted}/{port['protocol']} belongs to another Service")
        if wanted and not first <= wanted <= last:
            raise LabError(f"{title}: spec.ports: node port {wanted} is not within {first} and {last}")
        same = by_port.get(port["port"])  # one number of a Service is one node port, whatever the protocol
        chosen = wanted or kept.get((port["protocol"], port["port"])) or same
        chosen = chosen or next(n for n in range(first, last + 1) if not taken & {("TCP", n), ("UDP", n)})
        taken.add((port["protocol"], chosen))
        by_port.setdefault(port["port"], chosen)
        yield {**port, "nodePort": chosen}


def _taken_ports(others: Iterable[Object]) -> set[tuple[str, int]]:
    return {
        (port.get("protocol", "TCP"), port["nodePort"])
        for other in others
        for port in other["spec"].get("ports", ())
        if port.get("nodePort")
    }


def _ips(item: Object) -> list[str]:
    return [ip for ip in item["spec"].get("clusterIPs", ()) if ip != "None"]


def _family(address: str) -> str:
    return f"IPv{ip_address(address).version}"
