"""kube-proxy's configuration: the KubeProxyConfiguration of its ConfigMap, and its DaemonSet's flags."""

from typing import Any

from agent.migrate import kube_proxy_table as tables
from agent.migrate import objects
from agent.migrate.flags import environment, flags
from agent.migrate.objects import Objects, leaves, source
from agent.migrate.report import Migration, Notes, Object
from agent.migrate.table import Row, follow, index
from agent.options.yaml_text import YamlError, read_yaml

CONFIG = "kube-proxy"  # the ConfigMap's name, as kubeadm has it
KEYS = ("config.conf", "config")
OWN_KEYS = {
    "kubeconfig.conf": "the agent's pod has a service account",
    "kubeconfig": "the agent's pod has a service account",
}
_VARIABLES = {"NODE_NAME": "read by the agent too"}


def migrate(found: Objects) -> Migration:
    """What kube-proxy was told, as ours; nothing of it is left out in silence."""
    notes = Notes()
    configured = list(found.of_kind("KubeProxyConfiguration"))
    for given in configured:
        _fields(notes, given, source(given))
    configs = found.named("ConfigMap", CONFIG, "kube-proxy-config")
    for config in configs:
        _config(notes, config)
    daemons = [item for item in found.of_kind("DaemonSet") if any(map(_is_kube_proxy, objects.containers(item)))]
    for daemon in daemons:
        for container in objects.containers(daemon):
            if _is_kube_proxy(container):
                _container(notes, container, source(daemon))
    if not (configured or configs or daemons):
        notes.missing("input", "kube-proxy", "is not there: nothing was read", "give its ConfigMap and DaemonSet")
    return notes.result()


def _is_kube_proxy(container: Object) -> bool:
    image = str(container.get("image", "")).split("@")[0].rpartition("/")[2].partition(":")[0]
    return image == "kube-proxy" or container.get("name") == "kube-proxy"


def _config(notes: Notes, config: Object) -> None:
    for key, content in objects.part(config, "data").items():
        where = f"{source(config)}: {key}"
        if key in OWN_KEYS:
            notes.needless(where, "content", OWN_KEYS[key])
            continue
        try:
            parsed = read_yaml(content) if key in KEYS else None
        except YamlError as error:
            notes.missing(where, "content", f"is no YAML: {error}", "see what it says")
            continue
        if isinstance(parsed, dict):
            _fields(notes, parsed, where)
        else:
            notes.missing(where, "content", "is not read here", "see what it says")


def _fields(notes: Notes, content: dict[str, Any] | Object, where: str) -> None:
    fields = index(tables.FIELDS)
    for path, value in leaves({k: v for k, v in content.items() if k not in {"apiVersion", "kind", "metadata"}}):
        whole = next((name for name in tables.WHOLE if path.startswith(f"{name}.")), path)
        _field(notes, fields.get(whole), objects.text(value), where, path)


def _field(notes: Notes, row: Row | None, text: str, where: str, name: str) -> None:
    field = f"{name}={text}"
    if row is None:
        notes.missing(where, field, "is none of kube-proxy's that is known here", "see its release's notes")
    elif row.option and not text:
        notes.needless(where, name, f"not set: the default of --{row.option}")
    else:
        follow(notes, row, text, where, field)


def _container(notes: Notes, container: Object, where: str) -> None:
    fields, own = index(tables.FIELDS), index(tables.FLAGS)
    for name, text in flags(container, tables.SWITCHES, {}):
        if name == "hostname-override" and text.startswith("$("):
            notes.needless(where, f"--{name}={text}", "NODE_NAME is read by the agent too")
            continue
        row = own.get(name) or fields.get(tables.FLAG_FIELDS.get(name, ""))
        _field(notes, row, text, where, f"--{name}" if name else "argument")
    for name, text in environment(container).items():
        if name in _VARIABLES:
            notes.needless(where, name, _VARIABLES[name])
        else:
            notes.missing(where, f"{name}={text}", "is no variable of kube-proxy's that is known here")
