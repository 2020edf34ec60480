"""What `lab status` prints: machines with their agents, and in the standalone cluster pods and Services."""

from collections.abc import Iterator, Sequence

from agent.options.config import Options
from lab.agents import DAEMON
from lab.errors import LabError
from lab.machine import Machine
from lab.manifests import Manifests, Object, name, namespace
from lab.pods import is_ready
from lab.site import Site

PIN_ROOT = str(Options().pin_root)


def status_lines(site: Site) -> Iterator[str]:
    """The lines, tables with their headings."""
    yield from _table(("MACHINE", "ADDRESSES", "PROCESS", "AGENT", "PINS"), [_machine(site, n) for n in _names(site)])
    yield f"folder: {site.folder} (logs: <machine>/*.log)"
    if site.options.kubernetes:
        yield "a real Kubernetes: python -m lab kubectl get pods -A"
        return
    objects = Manifests(site.manifests)
    yield ""
    yield from _table(("POD", "NODE", "READY", "ADDRESSES"), [_pod(item) for item in objects.all("Pod")])
    yield ""
    yield from _table(("SERVICE", "TYPE", "ADDRESSES", "PORTS"), [_service(item) for item in objects.all("Service")])


def _names(site: Site) -> tuple[str, ...]:
    return site.machine_names


def _machine(site: Site, called: str) -> Sequence[str]:
    machine = site.machine(called)
    addresses = " ".join(map(str, machine.addresses))
    try:
        process = str(machine.process)
    except LabError:
        return called, addresses, "gone", "", ""
    return (
        (called, addresses, process, *_agent(machine))
        if called in site.node_names
        else (
            called,
            addresses,
            process,
            "",
            "",
        )
    )


def _agent(machine: Machine) -> tuple[str, str]:
    process = machine.daemon_process(DAEMON)
    return (f"process {process}" if process else "not running"), PIN_ROOT


def _pod(item: Object) -> Sequence[str]:
    addresses = " ".join(ip["ip"] for ip in item["status"].get("podIPs", ()))
    return f"{namespace(item)}/{name(item)}", item["spec"]["nodeName"], "yes" if is_ready(item) else "no", addresses


def _service(item: Object) -> Sequence[str]:
    spec = item["spec"]
    ports = " ".join(
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port['protocol']}"
        for port in spec["ports"]
    )
    return f"{namespace(item)}/{name(item)}", spec["type"], " ".join(spec.get("clusterIPs", ())), ports


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    for row in (heading, *rows):
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
