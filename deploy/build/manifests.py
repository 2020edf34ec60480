"""``python -m deploy.build.manifests`` writes deploy/manifests: what the chart renders, for ``kubectl apply`` alone.

Beside these it writes what the chart makes of some other values, for tests to compare with.

Helm is built for it, from the module that the lab pins.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.build.chart import CHART
from lab.kubernetes import build

FOLDER = Path(__file__).resolve().parents[1] / "manifests"
NAMESPACE = "kube-system"
KUBERNETES = "1.30"  # from this one on a pod says its AppArmor profile in a field
CASES = Path(__file__).resolve().parents[2] / "tests" / "build" / "chart"
_HEAD = "# Rendered from deploy/helm/sluiceway by `make manifests`.\n"
_SOURCE = re.compile(r"^# Source: .*\n", re.MULTILINE)
_OF_HELM = re.compile(r"^  annotations:\n(?:    helm\.sh/.*\n)+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file of the folder, and how Helm is asked for it."""

    name: str
    about: str
    arguments: tuple[str, ...]
    kinds: frozenset[str] = frozenset()  # of the objects in it; empty: all


BALANCERS = ("--set", "options.loadbalancer-pools=true,options.l2-announce=on")
MANIFESTS = (
    Manifest("sluiceway.yaml", "The agent on every node, as the chart's values have it.", ("--no-hooks",)),
    Manifest(
        "loadbalancer.yaml",
        "What the agents need beside it for --loadbalancer-pools and --l2-announce.",
        (*BALANCERS, "--show-only=templates/loadbalancer.yaml", "--show-only=templates/loadbalancerpool.yaml"),
    ),
    Manifest(
        "networks.yaml",
        "What the agents need beside it for --networks; its DaemonSet has the node's root then too (docs/networks.md).",
        (
            *("--set", "options.networks=true", "--show-only=templates/networks.yaml"),
            "--show-only=templates/multinetworkpolicy.yaml",
        ),
    ),
    Manifest(
        "ippools.yaml",
        "What the agents need beside it for --ip-pools (docs/ipam.md).",
        ("--set", "options.ip-pools=true", "--show-only=templates/ippools.yaml"),
    ),
    Manifest(
        "bgp.yaml",
        "What the agents need beside it for --router; its DaemonSet has BIRD's container then too (docs/bgp.md).",
        (
            *("--set", "options.router=true", "--show-only=templates/bgp.yaml"),
            *(f"--show-only=templates/{kind}.yaml" for kind in ("bgppeer", "bgpfilter", "bgpconfiguration")),
        ),
    ),
    Manifest(
        "cleanup.yaml",
        "Makes every node as it was before the agent came, once the agents are gone; then this can go too.",
        ("--show-only=templates/cleanup.yaml",),
        frozenset({"DaemonSet"}),
    ),
)


def template(helm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``helm template`` makes of the chart."""
    own = (f"--namespace={NAMESPACE}", f"--kube-version={KUBERNETES}")
    return run(helm, "template", "sluiceway", str(CHART), *own, *arguments)


def run(helm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm."""
    return subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)


def rendered(helm: Path) -> Mapping[Path, str]:
    """All files, as they are to be.

    Raises:
        ValueError: the chart cannot be rendered.
    """
    made = {FOLDER / manifest.name: _OF_HELM.sub("", _text(helm, manifest)) for manifest in MANIFESTS}
    for values in sorted(CASES.glob("*/values.yaml")):
        case = Manifest(values.parent.name, values.read_text().splitlines()[0].lstrip("# "), (f"--values={values}",))
        made[values.with_name("rendered.yaml")] = _text(helm, case)
    return made


def _text(helm: Path, manifest: Manifest) -> str:
    done = template(helm, *manifest.arguments)
    if done.returncode:
        raise ValueError(f"{manifest.name}: {done.stderr.strip()}")
    objects = [each for each in _SOURCE.sub("", done.stdout).split("---\n") if each.strip()]
    chosen = [each for each in objects if not manifest.kinds or _kind(each) in manifest.kinds]
    return f"# {manifest.about}\n{_HEAD}" + "".join(f"---\n{each}" for each in chosen)


def _kind(text: str) -> str:
    found = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    return found[1] if found else ""


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in rendered(build.helm(print)).items():
        path.write_text(text)


if __name__ == "__main__":
    main()
