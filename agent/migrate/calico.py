"""Calico's configuration: IPPools, FelixConfiguration; calico-node's environment, BGP and policies are others'."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from agent.migrate import calico_table as tables
from agent.migrate import objects
from agent.migrate.calico_bgp import KINDS as BGP_KINDS
from agent.migrate.calico_bgp import bgp
from agent.migrate.calico_environment import TOGETHER, container_environment
from agent.migrate.calico_felix_table import FELIX
from agent.migrate.calico_policy import policies
from agent.migrate.objects import CALICO_GROUPS, Objects, leaves, source
from agent.migrate.report import Migration, Notes, Object, own_object
from agent.migrate.table import Row, follow, index
from agent.model.address import is_within

PATHS = tuple(
    f"/apis/crd.projectcalico.org/v1/{plural}"
    for plural in (
        "ippools", "felixconfigurations", "bgpconfigurations", "bgppeers", "bgpfilters", "globalnetworkpolicies",
        "networkpolicies", "globalnetworksets", "networksets", "hostendpoints", "tiers", "ipreservations",
        "stagednetworkpolicies", "stagedglobalnetworkpolicies", "stagedkubernetesnetworkpolicies",
    )
)  # fmt: skip
_OWN = frozenset({"IPPool", "FelixConfiguration", *BGP_KINDS, "GlobalNetworkPolicy", "NetworkPolicy"})
_LOOKED_AT = ("cidr", "ipipMode", "vxlanMode", "natOutgoing", "allowedUses")  # of a pool, by _pools()
_VXLAN_PORT, _VXLAN_VNI = "4789", "4096"
OWN_PROFILES = ("kns.", "ksa.", "projectcalico-default-allow")
DEFAULT_TIERS = frozenset(
    {"default", "kube-admin", "kube-baseline", "adminnetworkpolicy", "baselineadminnetworkpolicy"}
)


def migrate(found: Objects) -> Migration:
    """What Calico was told, as ours; nothing of it is left out in silence."""
    notes = Notes()
    _pools(notes, found)
    for felix in found.of_kind("FelixConfiguration", *CALICO_GROUPS):
        _felix(notes, felix)
    bgp(notes, found)
    for item in found.items:
        if objects.group(item) in CALICO_GROUPS and item["kind"] not in _OWN:
            _other(notes, item)
    for daemon in found.of_kind("DaemonSet"):
        if told := container_environment(notes, daemon, found):
            _felix_together(notes, told, source(daemon), lambda name: f"FELIX_{name.upper()}")
    policies(notes, found)
    return notes.result()


def _other(notes: Notes, item: Object) -> None:
    row = index(tables.KINDS).get(item["kind"])
    if row is None:
        notes.missing(source(item), "kind", "is no kind of Calico's that is known here", "see what it says")
    elif (item["kind"] == "Profile" and objects.name(item).startswith(OWN_PROFILES)) or (
        item["kind"] == "Tier" and objects.name(item) in DEFAULT_TIERS
    ):
        notes.needless(source(item), "kind", "Calico's own")
    else:
        follow(notes, row, "", source(item), "kind")


def _pools(notes: Notes, found: Objects) -> None:
    pools = found.of_kind("IPPool", *CALICO_GROUPS)
    if not pools:
        notes.missing("input", "IPPools", "are not there: --encapsulation is not known", "give them")
    ranges = [cidr for node in found.of_kind("Node", "") for cidr in objects.pod_cidrs(node)]
    active = [pool for pool in pools if not objects.spec(pool).get("disabled")]
    for pool in pools:
        _fields(notes, pool, index(tables.POOL), _LOOKED_AT)
        uses = _uses(pool)
        if pool not in active:
            _pass_over(notes, pool, _LOOKED_AT, "the pool is disabled")
            continue
        if "LoadBalancer" in uses:
            _balancers(notes, pool)
        if uses <= {"LoadBalancer"}:
            _pass_over(notes, pool, _LOOKED_AT[1:4], "no pod has an address of the pool")
            continue
        _pass_over(notes, pool, ("allowedUses",), "pods' and tunnels' addresses are the Nodes'")
        _range(notes, pool, ranges)
    workload = [pool for pool in active if not _uses(pool) <= {"LoadBalancer"}]
    _encapsulation(notes, workload)
    for pool in workload:
        masquerades = objects.spec(pool).get("natOutgoing") is True
        shown = f"spec.natOutgoing={objects.text(masquerades)}"
        notes.option("masquerade", "on" if masquerades else "off", source(pool), shown)


def _pass_over(notes: Notes, pool: Object, names: Sequence[str], why: str) -> None:
    for name in names:
        if name in objects.spec(pool):
            notes.needless(source(pool), f"spec.{name}={objects.text(objects.spec(pool)[name])}", why)


def _uses(pool: Object) -> set[str]:
    return set(objects.spec(pool).get("allowedUses") or ("Workload", "Tunnel"))


def _balancers(notes: Notes, pool: Object) -> None:
    name, cidr = objects.name(pool), str(objects.spec(pool).get("cidr"))
    notes.objects.append(own_object("LoadBalancerPool", name, {"cidrs": [cidr]}))
    notes.mapped(source(pool), f"spec.cidr={cidr}", f"LoadBalancerPool {name}")
    notes.option("loadbalancer-pools", "on", source(pool), "spec.allowedUses=LoadBalancer")


def _range(notes: Notes, pool: Object, ranges: Sequence[str]) -> None:
    """Whether Nodes' pod CIDRs are of the pool; addresses of pods outside these cannot be kept."""
    text = str(objects.spec(pool).get("cidr"))
    field = f"spec.cidr={text}"
    try:
        cidr = ip_network(text)
        within = [one for one in map(ip_network, ranges) if is_within(one, cidr)]
    except ValueError as error:
        notes.missing(source(pool), field, str(error), "see what it says")
        return
    if within:
        notes.mapped(
            source(pool), field, f"{tables.CIDRS}, which are within; pods are made anew, as blocks are not kept"
        )
    else:
        advice = "have kube-controller-manager give Nodes ranges of it (--cluster-cidr, --allocate-node-cidrs)"
        notes.missing(source(pool), field, f"{tables.CIDRS}, and no Node in the input has one within", advice)


def _encapsulation(notes: Notes, pools: Sequence[Object]) -> None:
    for pool in pools:
        spec = objects.spec(pool)
        modes = {name: str(spec.get(f"{name}Mode") or "Never") for name in ("ipip", "vxlan")}
        wanted = next((name for name, mode in modes.items() if mode != "Never"), "native")
        field = ", ".join(f"spec.{name}Mode={mode}" for name, mode in modes.items())
        notes.option("encapsulation", wanted, source(pool), field)
        if "CrossSubnet" in modes.values():
            notes.option("cross-subnet", "on", source(pool), field)
        elif wanted != "native":
            notes.option("cross-subnet", "off", source(pool), field)
    if pools and (chosen := notes.settings.get("encapsulation")) is not None and chosen.value == "vxlan":
        notes.option("tunnel-port", _VXLAN_PORT, source(pools[0]), "Felix' default vxlanPort")
        notes.option("tunnel-vni", _VXLAN_VNI, source(pools[0]), "Felix' default vxlanVNI")


def _felix(notes: Notes, felix: Object) -> None:
    if objects.name(felix) != "default":
        text = "is of one node; options are given by node"
        notes.missing(source(felix), "metadata.name", text, "give that node's agent a --config of its own")
        return
    _fields(notes, felix, index(FELIX), tuple(TOGETHER))
    _felix_together(notes, objects.spec(felix), source(felix), lambda name: f"spec.{name}")


def _felix_together(notes: Notes, spec: Mapping[str, Any], where: str, called: Callable[[str], str]) -> None:
    """The tunnel's numbers, and metrics; *called* is how a field is called there."""
    is_vxlan = "tunnel-vni" in notes.settings
    for name, option in (("vxlanPort", "tunnel-port"), ("vxlanVNI", "tunnel-vni")):
        if name in spec and is_vxlan:
            del notes.settings[option]  # the default, written down with the pools
            notes.option(option, str(spec[name]), where, f"{called(name)}={spec[name]}")
        elif name in spec:
            notes.needless(where, f"{called(name)}={spec[name]}", "no pool has VXLAN")
    given = {name: objects.text(spec[name]) for name in sorted(TOGETHER & spec.keys()) if name.startswith("prom")}
    shown = ", ".join(f"{called(name)}={text}" for name, text in given.items())
    if given.get("prometheusMetricsEnabled") == "true":
        host, port = given.get("prometheusMetricsHost") or "::", given.get("prometheusMetricsPort") or "9091"
        notes.settings.pop("listen", None)
        notes.option("listen", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", where, shown)
        notes.missing(where, shown, "metrics have other names", "change dashboards and alerts by docs/metrics.md")
    elif given:
        notes.needless(where, shown, "metrics are at 127.0.0.1:9650 of the node, unless --listen says otherwise")


def _fields(notes: Notes, item: Object, rows: Mapping[str, Row], together: Sequence[str]) -> None:
    """Each field of ``spec`` by its row, but those that the caller looks at together."""
    for name, value in objects.spec(item).items():
        whole = (
            objects.text(value)
            if not isinstance(value, dict)
            else ",".join(f"{p}={objects.text(v)}" for p, v in leaves(value) if p)
        )
        field = f"spec.{name}={whole}"
        row = rows.get(name)
        if name in together:
            continue
        if row is None:
            notes.missing(
                source(item), field, "is no field of Calico v3.31 that is known here", "see its release's notes"
            )
        else:
            follow(notes, row, whole, source(item), field)
