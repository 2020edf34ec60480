"""BIRD on the lab's machines: beside a node's agent as in its pod, and on a machine that is a router of the site's."""

from pathlib import Path

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.options.config import Options
from lab.machine import Machine

DAEMON = "bird"
OUTSIDE_RANGES = ("198.51.100.0/24", "2001:db8:51::/48")  # of which nodes take what routers tell
FLAGS = ("--router=on", f"--bgp-import-cidrs={','.join(OUTSIDE_RANGES)}", "--advertise-loadbalancer-ip=on")
# as the DaemonSet's container: the agent writes the first configuration
_WAIT = 'until [ -f "$0" ]; do sleep 0.1; done; exec bird -f -R -c "$0" -s "$1"'


def start(node: Machine) -> None:
    """Start a node's BIRD, which waits for the agent's configuration."""
    folder = Options().run_dir / FOLDER
    node.daemon(DAEMON, ["sh", "-c", _WAIT, str(folder / CONFIG), str(folder / SOCKET)])


def run(machine: Machine, text: str) -> None:
    """Be a router of the site's, with this configuration."""
    folder = Path("/run/bird-of-the-lab")
    machine.run("mkdir", "-p", str(folder))
    machine.run("sh", "-c", f"cat >{folder}/bird.conf", stdin=text)
    machine.daemon(DAEMON, ["bird", "-f", "-c", f"{folder}/bird.conf", "-s", f"{folder}/bird.ctl"])


def ask(machine: Machine, *words: str) -> str:
    """What such a router's birdc answers."""
    return machine.run("birdc", "-s", "/run/bird-of-the-lab/bird.ctl", *words).stdout
