"""Where the options' values come from: flag, then SLUICEWAY_..., then a YAML file, then the default; with origins."""

import argparse
import difflib
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from agent.errors import ConfigError
from agent.options import values
from agent.options.choices import PodNetwork, ServiceProxy, Xdp
from agent.options.config import Options
from agent.options.mounts import bpffs, cgroup2, is_whole, read_mountinfo
from agent.options.yaml_text import YamlError, read_yaml

Origins = Mapping[str, str]  # by an option's name ("node-name"): who gave its value

ENVIRONMENT = "SLUICEWAY_"

# what a Service's variables hold that end as an option may, <NAME>_PORT. Source: Kubernetes, "Service", "Environment
# variables" (Docker's legacy container links)
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)


class Command(StrEnum):
    """What the agent is asked to do."""

    RUN = "run"
    CONFIG = "config"
    CLEANUP = "cleanup"


def load(
    argv: Sequence[str], environ: Mapping[str, str], mountinfo: str | None = None
) -> tuple[Command, Options, Origins]:
    """The command and its options, as the flags, the environment and the file give them.

    *argv* is without the program's name. *mountinfo* is the text of /proc/self/mountinfo, read when
    not given.

    Raises:
        ConfigError: an unknown name, or a value that cannot be used.
        SystemExit: ``--help`` was answered.
    """
    flags = _flags(argv)
    command = Command(flags.pop("command"))
    given = {name: (text, f"--{name}") for name, text in flags.items()}
    given = _environment(environ) | given
    if "config" in given:
        given = _file(Path(given["config"][0])) | given
    mountinfo = read_mountinfo() if mountinfo is None else mountinfo
    found = _derived(environ, mountinfo)
    chosen: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for option in fields(Options):
        name = _name(option)
        text, origins[name] = given.get(name) or found.get(name) or (None, "default")
        chosen[option.name] = option.default if text is None else _value(option, text, origins[name])
    options = Options(**chosen)
    _check_pin_root(command, options, origins, mountinfo)
    _check(command, options, origins, environ)
    return command, options, origins


def describe(options: Options, origins: Origins) -> str:
    """The options as YAML that --config reads back, each line ending with its value's origin."""
    names = [_name(option) for option in fields(Options) if option.name != "config"]
    lines = [f"{name + ':':<17} {yaml_value(getattr(options, _field(name)))}" for name in names]
    width = max(len(line) for line in lines)
    return "".join(f"{line:<{width}}  # {origins[name]}\n" for line, name in zip(lines, names, strict=True))


def option_names() -> tuple[str, ...]:
    """The names of all options, as flags and files have them."""
    return tuple(_name(option) for option in fields(Options))


class _Parser(argparse.ArgumentParser):
    """argparse, with the error that main prints."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see sluiceway-agent --help")


def _flags(argv: Sequence[str]) -> dict[str, str]:
    """The command under "command", and each flag's text under its option's name.

    What is given again adds to a list, as with Go's flags, and else goes before.
    """
    parser = _Parser(
        prog="sluiceway-agent",
        description="Keeps this node's BPF maps equal to what Kubernetes says.",
        epilog="Each is also SLUICEWAY_<NAME> in the environment, and <name> in the --config file. Another command, "
        "import, prints another network's configuration as ours: sluiceway-agent import --help.",
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=[str(c) for c in Command])
    for option in fields(Options):
        purpose, default = option.metadata["purpose"], option.metadata["default"]
        parser.add_argument(
            f"--{_name(option)}",
            dest=_name(option),
            help=f"{purpose} (default: {default or values.written(option.default) or 'none'})",
            metavar=option.metadata["form"],
            action="append" if _is_list(option) else "store",
        )
    known, unknown = parser.parse_known_args(argv)
    for argument in unknown:
        if argument.startswith("-"):
            flag = argument.split("=")[0]
            raise ConfigError(f"unknown option {flag}{_nearest(flag.lstrip('-'), '--')}")
        raise ConfigError(f"{argument!r} is no option; see sluiceway-agent --help")
    found = {name: text for name, text in vars(known).items() if text is not None}
    return {name: ",".join(text) if isinstance(text, list) else text for name, text in found.items()}


def _is_list(option: "Field[Any]") -> bool:
    """Whether its values are separated by commas."""
    return "," in option.metadata["form"]


def _environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    # other SLUICEWAY_ names are no mistake: a Service called "sluiceway" gives every pod of its
    # namespace SLUICEWAY_SERVICE_HOST, and one called "sluiceway-tunnel" a SLUICEWAY_TUNNEL_PORT
    variables = {_name(o): ENVIRONMENT + o.name.upper() for o in fields(Options)}
    return {n: (environ[v], v) for n, v in variables.items() if v in environ and not _SERVICE_LINK.match(environ[v])}


def _file(path: Path) -> dict[str, tuple[str, str]]:
    try:
        content = read_yaml(path.read_bytes())
    except (OSError, YamlError) as error:
        raise ConfigError(f"--config: cannot read {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config: {path} holds no mapping; write lines like 'log-level: debug'")
    known = {_name(option) for option in fields(Options)} - {"config"}
    given = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}{_nearest(str(key))}")
        if value is not None:  # as `describe` writes what has no value
            given[key] = (values.written(value), str(path))
    return given


def _derived(environ: Mapping[str, str], mountinfo: str) -> dict[str, tuple[str, str]]:
    """Defaults that the node itself knows."""
    found = {"node-name": (socket.gethostname().lower(), "hostname")}
    if environ.get("NODE_NAME"):
        found["node-name"] = (environ["NODE_NAME"], "NODE_NAME")
    if (pins := bpffs(mountinfo)) is not None:
        found["pin-root"] = (str(pins / "sluiceway"), "default, on the bpffs in mountinfo")
    if (root := cgroup2(mountinfo)) is not None:
        found["cgroup"] = (str(root), "default, the cgroup2 in mountinfo")
    return found


def _value(option: "Field[Any]", text: str, origin: str) -> object:
    try:
        return option.metadata["parse"](text)
    except ValueError as error:
        raise ConfigError(f"--{_name(option)} (from {origin}): {error}") from error


def _check_pin_root(command: Command, options: Options, origins: Origins, mountinfo: str) -> None:
    """Refuse a folder in which others have theirs: `run` and `cleanup` remove what is in it."""
    if command is not Command.CONFIG and is_whole(options.pin_root, mountinfo):
        text = f"--pin-root (from {origins['pin-root']}): {options.pin_root} is all of a file system"
        raise ConfigError(f"{text}; give a folder in it, such as {options.pin_root / 'sluiceway'}")


def _check(command: Command, options: Options, origins: Origins, environ: Mapping[str, str]) -> None:
    """Refuse what no single value shows; `config` prints even what could not run, and `cleanup` ends it."""
    if command is not Command.RUN:  # without a bpffs nothing is pinned, and the rest is there to clean up
        return
    if origins["pin-root"] == "default":
        raise ConfigError("no bpffs is mounted: mount -t bpf bpf /sys/fs/bpf, or give --pin-root on one")
    if options.has_socket_hooks and origins["cgroup"] == "default":
        raise ConfigError(
            "no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified, give --cgroup, or --socket-lb off"
        )
    if not (options.kubeconfig or options.manifests or environ.get("KUBERNETES_SERVICE_HOST")):
        raise ConfigError("nothing to watch: give --kubeconfig FILE or --manifests DIR, or run in a pod")
    _check_tunnel(options, origins)
    _check_chained(options, origins)
    _check_service_proxy(options, origins)
    _check_replacement(options, origins)
    _check_api(options, origins)
    _check_router(options, origins)
    if options.xdp is Xdp.OFF and options.xdp_deny_cidrs_file:
        text = f"--xdp-deny-cidrs-file (from {origins['xdp-deny-cidrs-file']}): without XDP nothing is denied"
        raise ConfigError(f"{text}; take it out, or give --xdp generic, which every device can")


def _check_api(options: Options, origins: Origins) -> None:
    """Refuse, with a folder, what is written to an API server or agreed on by it."""
    for name in ("api-server", "loadbalancer-pools", "l2-announce"):
        if options.manifests and getattr(options, _field(name)) != getattr(Options(), _field(name)):
            text = f"--{name} (from {origins[name]}): it needs an API server, and --manifests names a folder"
            raise ConfigError(f"{text}; take one of the two out")


def _check_router(options: Options, origins: Origins) -> None:
    """Refuse peers of which not each has an AS number, and a port where one has."""
    peers = len(options.peer_router_ips)
    for name, found in (("asns", options.peer_router_asns), ("ports", options.peer_router_ports)):
        if len(found) != peers and (found or name == "asns"):
            option = f"peer-router-{name}"
            text = f"--{option} (from {origins[option]}): {len(found)} for {peers} of --peer-router-ips"
            raise ConfigError(f"{text}; give one for each, in the same order")


def _check_chained(options: Options, origins: Origins) -> None:
    """Refuse options of a network that other plugins make."""
    if options.network is not PodNetwork.CHAINED:
        return
    refused = ("encapsulation", "cross-subnet", "host-routing", "masquerade-all", "masquerade-config", "mtu")
    for name in (*refused, "forwarding", *(("l2-announce",) if options.served is not ServiceProxy.ON else ())):
        if getattr(options, _field(name)) != getattr(Options(), _field(name)):
            text = f"--{name} (from {origins[name]}): with --network chained other CNI plugins make the pods' network"
            raise ConfigError(f"{text}; take it out, and tell them")


def _check_service_proxy(options: Options, origins: Origins) -> None:
    """Refuse to serve pods alone in the agent's own network, and policy that would not see whom pods ask."""
    text = f"--service-proxy {options.served} (from {origins['service-proxy']})"
    is_chained = options.network is PodNetwork.CHAINED
    if options.served is ServiceProxy.PODS and not is_chained:
        raise ConfigError(f"{text}: that is for --network chained; give on, or off where kube-proxy serves")
    if options.served is ServiceProxy.OFF and is_chained and options.network_policy:
        raise ConfigError(
            f"{text}: with --network chained policy sees no backend that kube-proxy chooses; "
            "give pods, or --network-policy off"
        )


def _check_replacement(options: Options, origins: Origins) -> None:
    """Refuse to take away the rules of a kube-proxy that is meant to serve."""
    if options.replace_kube_proxy and options.served is not ServiceProxy.ON:
        raise ConfigError(
            f"--replace-kube-proxy (from {origins['replace-kube-proxy']}): with --service-proxy {options.served} "
            "kube-proxy serves whom the agent does not; take it out, or give --service-proxy on"
        )


def _check_tunnel(options: Options, origins: Origins) -> None:
    """Refuse options of a UDP tunnel where the encapsulation has none: they were meant for another."""
    if options.encapsulation.has_udp:
        return
    default = Options()
    for name in ("tunnel-port", "tunnel-vni"):
        if getattr(options, _field(name)) != getattr(default, _field(name)):
            text = f"--{name} (from {origins[name]}): --encapsulation {options.encapsulation} has none"
            raise ConfigError(f"{text}; take it out, or give --encapsulation vxlan or geneve")


def _nearest(given: str, prefix: str = "") -> str:
    near = difflib.get_close_matches(given.replace("_", "-"), option_names(), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{near[0]}?" if near else "; see sluiceway-agent --help"


def yaml_value(value: object) -> str:
    """A value's text, quoted where YAML would read another."""
    text = values.written(value)
    try:
        is_plain = values.written(read_yaml(text)) == text
    except YamlError:
        is_plain = False
    return text if is_plain else json.dumps(text)


def _field(name: str) -> str:
    return name.replace("-", "_")


def _name(option: "Field[Any]") -> str:
    return option.name.replace("_", "-")
