"""kube-router's CNI configuration, which its ConfigMap has: what of it the agent's own network says too."""

from agent.migrate import objects
from agent.migrate.objects import Objects, source
from agent.migrate.report import Notes

NEEDLESS_PLUGINS = {
    "portmap": "host ports are served by the programs",
    "bandwidth": "pods' bandwidth annotations are read",
    "loopback": "the runtime's own",
    "host-local": "addresses are the agent's to give",
}
BRIDGE = {
    "type": "pods have veth pairs and no bridge",
    "name": "our conflist has a name of its own",
    "bridge": "pods have veth pairs and no bridge",
    "isDefaultGateway": "the pods' default route is by the node always",
    "isGateway": "the pods' default route is by the node always",
    "hairpinMode": "pods reach themselves anyway",
    "ipMasq": "see --enable-pod-egress",
    "ipam": "addresses are given of the Node's pod CIDRs",
    "mtu": "see --auto-mtu",
}


def mtu_of(notes: Notes, found: Objects) -> str:
    """The MTU in the CNI configuration, "" for none."""
    mtu = ""
    for config in found.of_kind("ConfigMap", ""):
        for key, text in objects.part(config, "data").items():
            if objects.name(config).startswith("kube-router") and key.startswith("cni-conf"):
                mtu = _cni_file(notes, str(text), f"{source(config)}: {key}") or mtu
            elif objects.name(config).startswith("kube-router"):
                notes.missing(source(config), key, "is not read here", "see what it says")
    return mtu


def _cni_file(notes: Notes, text: str, where: str) -> str:
    try:
        content = objects.embedded(text)
    except ValueError as error:
        notes.missing(where, "content", str(error), "see what it says")
        return ""
    mtu = ""
    for plugin in objects.plugins(content):
        kind = str(plugin.get("type"))
        if kind == "bridge":
            for key, value in plugin.items():
                if key in BRIDGE:
                    notes.needless(where, f"bridge.{key}", BRIDGE[key])
                elif key not in {"cniVersion", "plugins"}:
                    notes.missing(where, f"bridge.{key}={value}", "the agent makes the pods' interfaces, without it")
            mtu = str(plugin.get("mtu", ""))
        elif kind in NEEDLESS_PLUGINS:
            notes.needless(where, f"plugin {kind}", NEEDLESS_PLUGINS[kind])
        else:
            notes.missing(
                where, f"plugin {kind}", "our conflist has not this plugin", "write a conflist, --install-cni off"
            )
    return mtu
