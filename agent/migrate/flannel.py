"""flannel's configuration: net-conf.json and the CNI configuration of its ConfigMap, its DaemonSet's flags, Nodes."""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.migrate import flannel_table as tables
from agent.migrate import objects
from agent.migrate.api import write_api_server
from agent.migrate.flags import environment, flags, is_true
from agent.migrate.objects import Objects, leaves, source
from agent.migrate.report import Migration, Notes, Object
from agent.migrate.table import Row, follow, index

CANAL = "canal-config"
K3S, K3S_OFF = "k3s.io/", '"--disable-network-policy"'  # annotations; a server's arguments are a JSON list in one
CONFIG = ("kube-flannel-cfg", CANAL)  # the ConfigMap's name
PLUGINS = {
    "flannel": "the agent makes pods' interfaces and gives addresses",
    "portmap": "host ports are served by the programs",
    "bandwidth": "pods' bandwidth annotations are read",
}
_TOGETHER = frozenset({"iface", "ip-masq"})


def migrate(found: Objects) -> Migration:
    """What flannel was told, as ours; nothing of it is left out in silence."""
    notes = Notes()
    configs = found.named("ConfigMap", *CONFIG)
    backends = [_config(notes, config) for config in configs]
    daemons = [item for item in found.of_kind("DaemonSet") if any(map(_is_flannel, objects.containers(item)))]
    for daemon in daemons:
        for container in objects.containers(daemon):
            if _is_flannel(container):
                _container(notes, container, source(daemon), found)
    if not daemons:
        notes.missing(
            "input",
            "DaemonSet kube-flannel-ds",
            "is not there: no flag was read",
            "give it; k3s has none, see docs/install/k3s.md",
        )
    for node in found.of_kind("Node", ""):
        _node(notes, node, has_config=any(backends))
    if not any(backends) and not any(
        f"{tables.PREFIX}backend-type" in objects.annotations(n) for n in found.of_kind("Node", "")
    ):
        notes.missing(
            "input", "net-conf.json", "is nowhere: --encapsulation is not known", "give the ConfigMap or the Nodes"
        )
    _others(notes, found)
    return notes.result()


def _others(notes: Notes, found: Objects) -> None:
    """What flannel leaves to others."""
    if who := next(_enforcing(found), ""):
        notes.option("network-policy", "on", who, "network policy")
    else:
        text = "flannel enforces no policy; leave the line out to have policies hold from the start"
        notes.option("network-policy", "off", "flannel", "no network policy")
        notes.mapped("flannel", "no network policy", text)
    notes.option("service-proxy", "off", "flannel", "kube-proxy serves Services")
    notes.mapped(
        "flannel",
        "kube-proxy serves Services",
        "leave the line out where kube-proxy goes; sluiceway-agent import kube-proxy reads what it was told",
    )


def _enforcing(found: Objects) -> Iterator[str]:
    """Who enforces policies beside flannel: Calico in Canal, kube-network-policies, k3s by itself."""
    for daemon in found.of_kind("DaemonSet"):
        for container in objects.containers(daemon):
            if container.get("name") == "calico-node" or "kube-network-policies" in str(container.get("image", "")):
                yield source(daemon)
    of_k3s = [node for node in found.of_kind("Node", "") if any(n.startswith(K3S) for n in objects.annotations(node))]
    if not any(K3S_OFF in objects.annotations(node).get(f"{K3S}node-args", "") for node in of_k3s):
        yield from (f"k3s on {source(node)}" for node in of_k3s)


def _is_flannel(container: Object) -> bool:
    image = str(container.get("image", "")).split("@")[0].rpartition("/")[2].partition(":")[0]
    return image == "flannel" or container.get("name") == "kube-flannel"


def _config(notes: Notes, config: Object) -> bool:
    """Whether the ConfigMap says how nodes reach each other."""
    has_backend = False
    for key, content in objects.part(config, "data").items():
        where = f"{source(config)}: {key}"
        if key in tables.OF_CANAL and objects.name(config) == CANAL:
            notes.needless(where, "content", tables.OF_CANAL[key])
            continue
        try:
            parsed = objects.embedded(content) if key.endswith((".json", ".conflist", ".conf")) else None
        except ValueError as error:
            notes.missing(where, "content", str(error), "see what it says")
            continue
        if key == "net-conf.json" and isinstance(parsed, dict):
            _net_conf(notes, parsed, where)
            has_backend = True
        elif key.startswith("cni-conf") and isinstance(parsed, dict):
            _cni(notes, parsed, where)
        else:
            notes.missing(where, "content", "is not read here", "see what it says")
    return has_backend


def _net_conf(notes: Notes, content: Mapping[str, Any], where: str) -> None:
    backend = str(objects.part(content, "Backend").get("Type", "udp"))
    rows = index(tables.NET_CONF)
    for path, value in leaves(content):
        text = objects.text(value)
        field = f"{path}={'(not shown)' if path.endswith('PSK') else text}"
        if path == "Backend.Type":
            continue
        row = rows.get(path)
        if row is None:
            notes.missing(where, field, "is no field of flannel v0.2x that is known here", "see its release's notes")
        elif row.option.startswith("tunnel-") and backend != "vxlan":
            notes.missing(where, field, f"is of the backend {backend}", "see Backend.Type")
        else:
            follow(notes, row, text, where, field)
    _backend(notes, backend, where, f"Backend.Type={backend}")


def _backend(notes: Notes, backend: str, where: str, field: str) -> None:
    encapsulation, why = tables.BACKENDS.get(backend, ("native", "is no backend that is known here"))
    notes.option("encapsulation", encapsulation, where, field)
    if why:
        notes.missing(where, field, why, "choose --encapsulation by hand if another is meant")


def _cni(notes: Notes, content: Mapping[str, Any], where: str) -> None:
    for plugin in objects.plugins(content):
        kind = str(plugin.get("type"))
        if kind not in PLUGINS:
            notes.missing(
                where, f"plugin {kind}", "our conflist has not this plugin", "write a conflist, --install-cni off"
            )
            continue
        notes.needless(where, f"plugin {kind}", PLUGINS[kind])
        for path, value in leaves(plugin.get("delegate", {})):
            if path in {"hairpinMode", "isDefaultGateway", "forceAddress"}:
                notes.needless(
                    where, f"delegate.{path}={objects.text(value)}", "it is so, or has no meaning without a bridge"
                )
            elif path == "mtu":
                notes.option("mtu", objects.text(value), where, f"delegate.mtu={value}")
            else:
                notes.missing(
                    where, f"delegate.{path}={objects.text(value)}", "the agent makes the pods' interfaces, without it"
                )


def _container(notes: Notes, container: Object, where: str, found: Objects) -> None:
    rows, given = index(tables.FLAGS), dict[str, str]()
    if container.get("name") in {"install-cni", "install-cni-plugin"}:
        notes.needless(where, f"container {container['name']}", "the agent installs its own plugin and conflist")
        return
    for name, text in flags(container, tables.SWITCHES, {}):
        given[name] = text
        _flag(notes, rows.get(name), name, text, where)
    for name, text in environment(container).items():
        flag = name.removeprefix("FLANNELD_").lower().replace("_", "-")
        if name.startswith("FLANNELD_"):
            given.setdefault(flag, text)
            _flag(notes, rows.get(flag), flag, text, where)
        elif (row := index(tables.ENVIRONMENT).get(name)) is not None:
            follow(notes, row, text, where, name)
        else:
            notes.missing(where, f"{name}={text}", "is no variable of flannel's that is known here")
    write_api_server(notes, found, environment(container), where)
    masquerades = is_true(given.get("ip-masq", "false"))
    field = f"--ip-masq={given.get('ip-masq', 'false (its default)')}"
    notes.option("masquerade", "on" if masquerades else "off", where, field)
    if "kube-subnet-mgr" not in given:
        notes.missing(where, "no --kube-subnet-mgr", tables.ETCD, tables.GIVE_CIDRS)


def _flag(notes: Notes, row: Row | None, name: str, text: str, where: str) -> None:
    field = f"--{name}={'(not shown)' if 'password' in name else text}" if name else text
    if row is None:
        notes.missing(where, field, "is no flag of flannel v0.2x that is known here", "see its release's notes")
    elif name == "iface" and not text:
        notes.needless(where, field, "the default of --devices")
    elif name == "iface" and text.startswith("from "):
        notes.missing(where, field, "its text is not in the input", "give the ConfigMap")
    elif name == "iface" and (":" in text or text.replace(".", "").isdigit()):
        notes.missing(where, field, "devices are named, and this is an address", "give --devices the name")
    elif name == "iface":
        notes.option("devices", text, where, field)
    elif name not in _TOGETHER:
        follow(notes, row, text, where, field)


def _node(notes: Notes, node: Object, *, has_config: bool) -> None:
    rows = index(tables.ANNOTATIONS)
    addresses = {
        str(one.get("address"))
        for one in objects.part(node, "status").get("addresses") or ()
        if one.get("type") == "InternalIP"
    }
    for full, value in sorted(objects.annotations(node).items()):
        name, field = full.removeprefix(tables.PREFIX), f"{full}: {value}"
        row = rows.get(name)
        if not full.startswith(tables.PREFIX):
            continue
        if row is None:
            notes.missing(source(node), field, "is no annotation of flannel v0.2x that is known here")
        elif name == "backend-type" and not has_config:
            _backend(notes, value, source(node), field)
        elif name == "backend-type":
            notes.needless(source(node), field, "net-conf.json says it")
        elif name not in {"public-ip", "public-ipv6"}:
            follow(notes, row, value, source(node), field)
        elif value in addresses:
            notes.needless(source(node), field, "the Node's InternalIP")
        else:
            notes.missing(source(node), field, tables.ADDRESS, tables.SET_ADDRESS)
