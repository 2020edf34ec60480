"""kube-router's configuration: its DaemonSet's flags, the CNI configuration, and annotations on Nodes and Services."""

import re
from collections.abc import Mapping

from agent.migrate import kube_router_annotations as annotated
from agent.migrate import objects
from agent.migrate.flags import environment, flags, is_true, joined
from agent.migrate.kube_router_bgp import peers_beyond
from agent.migrate.kube_router_cni import mtu_of
from agent.migrate.kube_router_flags import FLAGS, SHORT, SWITCHES
from agent.migrate.kube_router_objects import asn_of_mesh, node_annotations, service_annotations
from agent.migrate.objects import Objects, source
from agent.migrate.report import Migration, Notes, Object, own_object
from agent.migrate.table import follow, index

STRICT_SINCE = (2, 8)  # --strict-external-ip-validation, and its default true
POOL = "kube-router"  # the LoadBalancerPool's name
LISTS = frozenset(
    {
        "service-cluster-ip-range", "service-external-ip-range", "loadbalancer-ip-range", "excluded-cidrs",
        "peer-router-ips", "peer-router-asns", "peer-router-ports", "peer-router-passwords",
    }
)  # fmt: skip  # that may be given again
_VERSION = re.compile(r":v?(\d+)\.(\d+)")


def migrate(found: Objects) -> Migration:
    """What kube-router was told, as ours; nothing of it is left out in silence."""
    notes = Notes()
    daemons = [item for item in (*found.of_kind("DaemonSet"), *found.of_kind("Deployment")) if _is_kube_router(item)]
    if not daemons:
        notes.missing("input", "DaemonSet kube-router", "is not there: no flag was read", "give the DaemonSet too")
    for daemon in daemons:
        _daemon(notes, daemon, found)
    is_told = "router" in notes.settings
    for node in found.of_kind("Node", ""):
        node_annotations(notes, node)
        if is_told and "nodes-full-mesh" not in notes.settings:
            asn_of_mesh(notes, node)
    for service in found.of_kind("Service", ""):
        service_annotations(notes, service)
    return notes.result()


def _is_kube_router(item: Object) -> bool:
    return any(_is_router(container) for container in objects.containers(item))


def _is_router(container: Object) -> bool:
    image = str(container.get("image", "")).split("@")[0].rpartition("/")[2].partition(":")[0]
    return image == "kube-router" or container.get("name") == "kube-router"


def _daemon(notes: Notes, daemon: Object, found: Objects) -> None:
    for container in objects.containers(daemon):
        if _is_router(container):
            _environment(notes, container, f"{source(daemon)}: {container.get('name')}")
    main = [one for one in objects.spec(daemon)["template"]["spec"].get("containers") or () if _is_router(one)]
    for container in main:
        given = _flags(notes, container, source(daemon))
        mtu = mtu_of(notes, found)
        _duties(notes, given, container, source(daemon))
        if is_true(given.get("run-router", "true")):
            peers_beyond(notes, given, found.of_kind("Node", ""), source(daemon))
        _overlay(notes, given, source(daemon))
        _families(notes, given, found, source(daemon))
        _mtu(notes, given, mtu, source(daemon))
        _addresses(notes, given, source(daemon))
        _listen(notes, given, source(daemon))


def _flags(notes: Notes, container: Object, where: str) -> Mapping[str, str]:
    """The flags' texts; those that stand alone are noted down, the others are the callers'."""
    given: dict[str, list[str]] = {}
    for name, text in flags(container, SWITCHES, SHORT):
        given.setdefault(name, []).append(text)
    rows = index(FLAGS)
    texts = {name: joined(all_of) if name in LISTS else all_of[-1] for name, all_of in given.items()}
    for name, text in texts.items():
        field = f"--{name}={_hidden(name, text)}" if name else text
        row = rows.get(name)
        if row is None:
            notes.missing(where, field, "is no flag of kube-router v2.11 that is known here", "see its release's notes")
        elif row.name not in TOGETHER:
            follow(notes, row, text, where, field)
    return texts


TOGETHER = frozenset(
    {
        "run-router", "run-firewall", "run-service-proxy", "run-loadbalancer", "enable-ipv4", "enable-ipv6",
        "auto-mtu", "enable-overlay", "overlay-type", "overlay-encap", "nodeport-bindon-all-ip",
        "strict-external-ip-validation", "loadbalancer-ip-range", "metrics-port", "metrics-addr",
    }
)  # fmt: skip


def _hidden(name: str, text: str) -> str:
    return "(not shown)" if "password" in name and text else text


def _duties(notes: Notes, given: Mapping[str, str], container: Object, where: str) -> None:
    router, firewall, proxy = (
        is_true(given.get(f"run-{duty}", "true")) for duty in ("router", "firewall", "service-proxy")
    )
    shown = {duty: _shown(given, f"run-{duty}", "true") for duty in ("router", "firewall", "service-proxy")}
    notes.option("network", "own" if router else "chained", where, shown["router"])
    notes.option("network-policy", "on" if firewall else "off", where, shown["firewall"])
    if firewall:
        notes.option("policy-reject", "on", where, f"{shown['firewall']}, which refuses and does not drop")
        notes.needless(where, "NFLOG group 100 of what policy denies", "`dpctl drops` and metrics tell of it")
    if not router and firewall and not proxy:
        text = "--service-proxy pods: kube-proxy serves the node and the outside, the agent the pods, for policy's sake"
        notes.mapped(where, shown["service-proxy"], text)
    else:
        notes.option("service-proxy", "on" if proxy else "off", where, shown["service-proxy"])
    if proxy:
        every = is_true(given.get("nodeport-bindon-all-ip", "false"))
        field = _shown(given, "nodeport-bindon-all-ip", "false")
        if every:
            notes.needless(where, field, "node ports are at every address of the node")
        else:
            notes.option("nodeport-addresses", "primary", where, field)
        _strict(notes, given, container, where)
    else:
        for name in ("nodeport-bindon-all-ip", "strict-external-ip-validation"):
            if name in given:
                notes.needless(where, _shown(given, name, ""), "Services are another's to serve")
    allocates = is_true(given.get("run-loadbalancer", "false"))
    if allocates:
        notes.option("loadbalancer-pools", "on", where, _shown(given, "run-loadbalancer", ""))
    elif "run-loadbalancer" in given:
        notes.needless(where, _shown(given, "run-loadbalancer", ""), "the default of --loadbalancer-pools")


def _strict(notes: Notes, given: Mapping[str, str], container: Object, where: str) -> None:
    field = _shown(given, "strict-external-ip-validation", "true")
    version = _VERSION.search(str(container.get("image", "")).rpartition("/")[2])
    if "strict-external-ip-validation" not in given and version and _number(version) < STRICT_SINCE:
        image = str(container["image"])
        notes.needless(where, f"image: {image}", "kube-router before v2.8 serves external addresses of any range")
        return
    strict = is_true(given.get("strict-external-ip-validation", "true"))
    notes.option("strict-external-ip-validation", "on" if strict else "off", where, field)


def _number(version: "re.Match[str]") -> tuple[int, int]:
    return int(version[1]), int(version[2])


def _overlay(notes: Notes, given: Mapping[str, str], where: str) -> None:
    told = [_shown(given, name, "") for name in ("enable-overlay", "overlay-type", "overlay-encap") if name in given]
    field = " ".join(told) or "--enable-overlay=true (its default)"
    if not is_true(given.get("run-router", "true")):
        if told:
            notes.needless(where, field, "another plugin makes the network")
    elif not is_true(given.get("enable-overlay", "true")):
        notes.option("encapsulation", "native", where, field)
    else:
        if given.get("overlay-encap", "ipip") == "ipip":
            notes.option("encapsulation", "ipip", where, field)
        else:
            text = "there is no FOU or GUE; --encapsulation vxlan, which is in UDP too, is taken in its place"
            notes.option("encapsulation", "vxlan", where, field)
            notes.missing(where, field, text, "let UDP 8472 through between the nodes, or take ipip")
        if given.get("overlay-type", "subnet") == "subnet":
            notes.option("cross-subnet", "on", where, field)


def _families(notes: Notes, given: Mapping[str, str], found: Objects, where: str) -> None:
    ranges = [cidr for node in found.of_kind("Node", "") for cidr in objects.pod_cidrs(node)]
    for name, default, is_there in (
        ("enable-ipv4", "true", any(":" not in cidr for cidr in ranges)),
        ("enable-ipv6", "false", any(":" in cidr for cidr in ranges)),
    ):
        field = _shown(given, name, default)
        if is_true(given.get(name, default)) or not is_there:
            if name in given:
                notes.needless(where, field, "each family is there of which the Node has a pod CIDR")
        else:
            text = "Nodes have pod CIDRs of this family, and pods get addresses of them"
            notes.missing(where, field, text, "know that pods and Services are of both families from now on")


def _mtu(notes: Notes, given: Mapping[str, str], mtu: str, where: str) -> None:
    field = _shown(given, "auto-mtu", "true")
    if is_true(given.get("auto-mtu", "true")):
        if "auto-mtu" in given:
            notes.needless(where, field, "the default of --mtu: the uplinks', less what encapsulation adds")
    elif mtu:
        notes.option("mtu", mtu, where, f"{field} and the CNI configuration's mtu")
    else:
        notes.missing(where, field, "the input has no CNI configuration with an mtu", "give --mtu by hand, if any")


def _addresses(notes: Notes, given: Mapping[str, str], where: str) -> None:
    ranges = given.get("loadbalancer-ip-range", "")
    if "loadbalancer-ip-range" not in given:
        return
    field = _shown(given, "loadbalancer-ip-range", "")
    notes.option("loadbalancer-ip-range", ranges, where, field)
    if is_true(given.get("run-loadbalancer", "false")):
        cidrs = [cidr.strip() for cidr in ranges.split(",")]
        notes.objects.append(own_object("LoadBalancerPool", POOL, {"cidrs": cidrs}))
        notes.mapped(where, field, f"LoadBalancerPool {POOL}")


def _listen(notes: Notes, given: Mapping[str, str], where: str) -> None:
    port, address = given.get("metrics-port", "0"), given.get("metrics-addr", "")
    shown = " ".join(_shown(given, name, "") for name in ("metrics-port", "metrics-addr") if name in given)
    if port == "0":
        if shown:
            notes.needless(where, shown, "metrics are at 127.0.0.1:9650 of the node, unless --listen says otherwise")
        return
    host = f"[{address or '::'}]" if ":" in (address or "::") else address
    notes.option("listen", f"{host}:{port}", where, shown)
    text = "metrics have other names"
    notes.missing(where, shown, text, "change dashboards and alerts by the table of docs/migrate/kube-router.md")


def _environment(notes: Notes, container: Object, where: str) -> None:
    rows = index(annotated.ENVIRONMENT)
    for name, text in environment(container).items():
        row = rows.get(name.upper() if name.lower().endswith("_proxy") else name)
        folder = {"KUBE_ROUTER_CNI_CONF_FILE": text.rpartition("/")[0], "HOST_BIN_PATH": text}.get(name)
        if row is None:
            notes.missing(where, f"{name}={text}", "is no variable of kube-router's that is known here")
        elif folder is None:
            follow(notes, row, text, where, name)
        elif folder in {"/etc/cni/net.d", "/opt/cni/bin"}:
            notes.needless(where, f"{name}={text}", "the default folder")
        else:
            option = "cni-bin-dir" if name == "HOST_BIN_PATH" else "cni-conf-dir"
            notes.option(option, folder, where, f"{name}={text}")


def _shown(given: Mapping[str, str], name: str, default: str) -> str:
    """The flag as it was given, or its default."""
    return f"--{name}={given[name]}" if name in given else f"--{name}={default} (its default)"
