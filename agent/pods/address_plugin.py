"""What a configuration's IPAM plugin needs before an interface is made, or unmade, by it.

Plugins of interfaces find out last, leave their device in the pod, and fail its DEL for the same reason. So it is seen
before the first is executed. ``dhcp`` is a client of a daemon of its own, which an administrator starts.

Source: containernetworking/plugins, plugins/ipam/dhcp.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.model.network import OUR_PLUGIN
from agent.pods.files import below
from agent.pods.plugin import PluginFailed, Plugins

DHCP = "dhcp"
DHCP_SOCKET = "/run/cni/dhcp.sock"  # the daemon's default
_ANSWERS_S = 1.0  # one that is busy longer is there


def see_address_plugin(plugins: Plugins, config: Mapping[str, Any]) -> None:
    """See that the IPAM plugin of a configuration can be asked; ours, and none, always can.

    Raises:
        PluginFailed: it cannot; the message names what to install or to start.
    """
    kind = _kind(config)
    if not kind or kind == OUR_PLUGIN:
        return
    if lack := plugins.lack(kind):
        raise PluginFailed(kind, lack)
    if why := _no_daemon(plugins, config):
        start = f"start `{plugins.folder / DHCP} daemon` on the node"
        raise PluginFailed(kind, f"no daemon answers at {_socket(config)}: {why}; {start}")


def has_forgotten(plugins: Plugins, config: Mapping[str, Any]) -> bool:
    """Whether what the IPAM plugin gave went with its daemon, which keeps leases in its memory alone.

    Then there is nothing to give back, and asking for it would keep the pod's interface from going.
    """
    return bool(_no_daemon(plugins, config))


def give_back(plugins: Plugins, environment: Mapping[str, str], config: Mapping[str, Any], deadline: float) -> None:
    """Have the IPAM plugin of a configuration, if any, take back what it gave; that is told as the plugin that has it.

    Raises:
        PluginFailed: it does not.
    """
    if kind := _kind(config):
        plugins.run(kind, environment, config, deadline)


def _no_daemon(plugins: Plugins, config: Mapping[str, Any]) -> str:
    """Why the daemon of ``dhcp`` is not there; empty where it is, or nobody needs it."""
    if _kind(config) != DHCP:
        return ""
    path = Path(_socket(config))
    try:
        seen = below(plugins.root, path) if plugins.root else path
        folder = os.open(seen.parent, os.O_PATH | os.O_DIRECTORY)  # below a root its path may be too long for a socket
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWERS_S)
                connection.connect(f"/proc/self/fd/{folder}/{seen.name}")
        finally:
            os.close(folder)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        return str(error.strerror)
    except (OSError, ValueError):  # that is for the plugin to say
        return ""
    return ""


def _kind(config: Mapping[str, Any]) -> str:
    return str((config.get("ipam") or {}).get("type") or "")


def _socket(config: Mapping[str, Any]) -> str:
    return str(config["ipam"].get("daemonSocketPath") or DHCP_SOCKET)
