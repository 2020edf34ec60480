"""FRR and GoBGP on the lab's machines: routers of other makes than BIRD's that nodes peer with."""

import json
from pathlib import Path

from lab.machine import Machine

_FRR = Path("/usr/lib/frr")
_HOME = Path("/run/frr-of-the-lab")
_GOBGP = Path("/run/gobgp-of-the-lab")


def run(machine: Machine, text: str) -> None:
    """Be a router of the site's by FRR, with this configuration of all its daemons."""
    machine.run("install", "-d", "-o", "frr", "-g", "frr", str(_HOME))
    machine.run("sh", "-c", f"cat >{_HOME}/frr.conf", stdin=text)
    for daemon in ("zebra", "bfdd", "bgpd"):
        # in the foreground, each with its own files, as the user that the package makes
        own = ["-i", f"{_HOME}/{daemon}.pid", "--vty_socket", str(_HOME), "-z", f"{_HOME}/zserv"]
        machine.daemon(daemon, [str(_FRR / daemon), *own, "-f", f"{_HOME}/frr.conf", "-P", "0", "--log", "stdout"])


def ask(machine: Machine, *commands: str) -> str:
    """What vtysh answers."""
    said = [word for command in commands for word in ("-c", command)]
    return machine.run("vtysh", "--vty_socket", str(_HOME), *said, check=False).stdout


def run_gobgp(machine: Machine, configuration: object) -> None:
    """Be a router by GoBGP, which leaves the kernel's routes alone."""
    machine.run("mkdir", "-p", str(_GOBGP))
    machine.run("sh", "-c", f"cat >{_GOBGP}/gobgpd.json", stdin=json.dumps(configuration))
    machine.daemon("gobgpd", ["gobgpd", "-t", "json", "-f", f"{_GOBGP}/gobgpd.json", "--api-hosts", "127.0.0.1:50051"])


def ask_gobgp(machine: Machine, *words: str) -> str:
    """What GoBGP's client answers."""
    return machine.run("gobgp", *words, check=False).stdout
