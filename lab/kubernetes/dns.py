"""DNS: the cluster's own, as a Deployment, and the one outside that it forwards to."""

from pathlib import Path
from string import Template

from lab.kubernetes import images
from lab.kubernetes.addresses import DNS_SERVICE
from lab.kubernetes.build import Artifacts
from lab.kubernetes.kubectl import Kubectl
from lab.machine import Machine

MANIFEST = Path(__file__).with_name("coredns.yaml")
# there is no Internet here, and an answer is quicker than silence
NO_SUCH_NAME = ".:53 {\n  errors\n  template ANY ANY {\n    rcode NXDOMAIN\n  }\n}\n"


def start_outside(outside: Machine, artifacts: Artifacts) -> None:
    """Start the resolver that every node's ``/etc/resolv.conf`` names: it knows no name."""
    corefile = outside.home / "Corefile"
    corefile.write_text(NO_SUCH_NAME)
    outside.daemon("dns", [artifacts.program("coredns"), "-conf", str(corefile)])


def deploy(kubectl: Kubectl) -> None:
    """Apply the cluster's DNS; `wait` waits for it."""
    values = {"image": images.COREDNS, "address": str(DNS_SERVICE)}
    kubectl.apply(Template(MANIFEST.read_text()).substitute(values))


def wait(kubectl: Kubectl) -> None:
    """Return when a name can be asked for."""
    kubectl.run("--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
