"""`make demo`: three nodes, real pods, real connections; each line is one thing that was tried, and whether it held."""

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import agents, cluster, site, use
from lab.cluster import Cluster
from lab.errors import LabError, LabExistsError
from lab.site import Options
from lab.use import Asked, Client

SERVICES = Path(__file__).with_name("demo.yaml")
BACKENDS = ("web1", "web2", "web3")
OFTEN = 50  # connections; that one of three backends gets none of them has a chance of 1 in 200 million
LOAD_S = 1.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Checks:
    """What was tried so far."""

    say: Say
    failed: list[str] = field(default_factory=list)
    done: int = 0

    def check(self, title: str, problem: str, detail: str = "") -> None:
        """One line: it held, or *problem*."""
        self.done += 1
        if problem:
            self.failed.append(title)
        result = problem or detail
        self.say(f"  {'FAILED' if problem else 'ok    '}  {title}{': ' if result else ''}{result}")


def run(lab: str, *, keep: bool) -> int:
    """The whole demo; the exit code is 0 when every check held."""
    checks = Checks(lambda text: print(text, flush=True))
    began = time.monotonic()
    try:
        _show(lab, checks)
    except LabExistsError as error:
        checks.check("the lab works", str(error))
        keep = True  # somebody's
    except LabError as error:
        checks.check("the lab works", str(error))
    finally:
        if not keep:
            site.remove(lab)
            checks.say("\nThe lab is down again, nothing is left of it.")
    took = time.monotonic() - began
    if checks.failed:
        checks.say(
            f"\n{len(checks.failed)} of {checks.done} checks FAILED, in {took:.0f} s: {'; '.join(checks.failed)}"
        )
        return 1
    checks.say(f"\nAll {checks.done} checks held, in {took:.0f} s.")
    checks.say(_further(is_up=keep))
    return 0


def _show(lab: str, checks: Checks) -> None:
    say = checks.say
    say("A cluster of three nodes: each a set of namespaces with an agent of its own")
    made = cluster.up(lab, Options(), lambda text: say(f"  {text}"))
    stored = {item["metadata"]["name"]: item for item in made.apply(SERVICES.read_text())}
    for number, called in enumerate(BACKENDS, start=1):
        item = use.serve(made, called, f"n{number}", {"app": "echo"})
        addresses = " ".join(ip["ip"] for ip in item["status"]["podIPs"])
        say(f"  pod {called} on n{number} answers with its name: {addresses}")
    asking = use.idle(made, "asking", "n1")
    _pods_reach_services(checks, asking, stored)
    _nodes_and_outside_reach_services(checks, made, stored)
    _refusal(checks, asking, stored)
    _backends_leave(checks, made, stored)
    _agents_die(checks, made, asking, stored)


def _pods_reach_services(checks: Checks, asking: Client, stored: dict[str, Any]) -> None:
    ips = stored["echo"]["spec"]["clusterIPs"]
    checks.say(f"\nFrom a pod to the ClusterIP service echo, {' and '.join(ips)}, port 80")
    for ip in ips:
        for kind in ("tcp", "udp"):
            seen = asking.ask(kind, ip, 80, OFTEN)
            checks.check(f"{kind.upper()} to {ip}", _all_backends(seen), _counts(seen))


def _nodes_and_outside_reach_services(checks: Checks, made: Cluster, stored: dict[str, Any]) -> None:
    ips = stored["echo"]["spec"]["clusterIPs"]
    checks.say("\nFrom the nodes themselves, which are no pods")
    for node in made.site.nodes:
        problem = " ".join(filter(None, (_all_backends(use.host(node).ask("tcp", ip, 80, OFTEN)) for ip in ips)))
        checks.check(f"{node.name} to {' and '.join(ips)}", problem)
    port = stored["echo-outside"]["spec"]["ports"][0]["nodePort"]
    checks.say(f"\nFrom outside to node port {port} of every node")
    outside = use.host(made.site.outside)
    for node in made.site.nodes:
        for address in node.addresses:
            seen = [outside.ask(kind, str(address), port, OFTEN) for kind in ("tcp", "udp")]
            problem = " ".join(filter(None, map(_all_backends, seen)))
            checks.check(f"TCP and UDP to {node.name}, {address}", problem)


def _refusal(checks: Checks, asking: Client, stored: dict[str, Any]) -> None:
    checks.say("\nTo a service that has no endpoint")
    for ip in stored["nobody"]["spec"]["clusterIPs"]:
        seen = asking.ask("tcp", ip, 80)
        problem = "" if seen.is_refused else _counts(seen)
        checks.check(f"{ip} refuses at once", problem, f"after {seen.slowest_s * 1000:.0f} ms")


def _backends_leave(checks: Checks, made: Cluster, stored: dict[str, Any]) -> None:
    checks.say("\nWhile a pod connects without pause, a backend leaves and comes back")
    target = (stored["echo"]["spec"]["clusterIPs"][0], 80)
    with _loaded(checks, made, target, "no connection fails"):
        made.delete("web3")
        time.sleep(LOAD_S)
        use.serve(made, "web3", "n3", {"app": "echo"})
        time.sleep(LOAD_S)


def _agents_die(checks: Checks, made: Cluster, asking: Client, stored: dict[str, Any]) -> None:
    checks.say("\nThe agent of n1 is killed; the kernel holds the state")
    target = (stored["echo"]["spec"]["clusterIPs"][0], 80)
    node = made.site.machine("n1")
    with _loaded(checks, made, target, "no connection fails, old or new", kept=8):
        agents.kill(node)
        checks.check("without an agent, services work", _all_backends(asking.ask("tcp", *target, OFTEN)))
        agents.start_again(node)
        agents.wait(node)
        checks.check("a new agent takes over what it finds", _all_backends(asking.ask("tcp", *target, OFTEN)))


@contextmanager
def _loaded(checks: Checks, made: Cluster, target: tuple[str, int], title: str, kept: int = 0) -> Any:
    """Load for as long as the block runs, then a check."""
    with use.load(made, "busy", "n1", target, kept) as load:
        yield
    seen = load.seen
    if seen is None:
        checks.check(title, "the client reported nothing")
        return
    detail = f"{seen.opened} new connections" + (f", {seen.exchanged} exchanges on {kept} old ones" if kept else "")
    checks.check(title, "" if seen.opened and not seen.errors else f"{detail}; {dict(seen.errors)}", detail)


def _all_backends(seen: Asked) -> str:
    """What is wrong where all backends should have answered."""
    missing = sorted(set(BACKENDS) - seen.names)
    problems = [f"{error} ({count} times)" for error, count in seen.errors.items()]
    problems += [f"nothing from {', '.join(missing)}"] * bool(missing)
    return "; ".join(problems)


def _counts(seen: Asked) -> str:
    counted = {**dict(sorted(seen.answers.items())), **seen.errors}
    return ", ".join(f"{who} {count}" for who, count in counted.items())


def _further(*, is_up: bool) -> str:
    lab = f"{Path(sys.executable).name} -m lab"
    first = "The lab is up. Look around:" if is_up else f"Look around in a lab that stays up ({lab} demo --keep):"
    rows = (
        ("status", "machines, pods, services"),
        ("dpctl n1 service list", "what n1 does with a service's packets"),
        ("dpctl n1 backend list", "and where to"),
        ("dpctl n1 conntrack list", "the flows it knows"),
        ("exec asking -- ip route", "what a pod sees"),
        ("agent kill n2", "dpctl and traffic go on without it"),
        ("down", "takes all of it away"),
    )
    return "\n".join([f"\n{first}", *(f"  {lab} {command:<26} # {purpose}" for command, purpose in rows)])
