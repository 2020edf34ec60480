"""Every key and kubeconfig of the cluster, made before its first process starts."""

from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes import pki
from lab.kubernetes.addresses import API_SERVICE, server
from lab.site import Site

ADMINISTRATOR = "kubernetes-admin"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Identities:
    """What the processes show each other; kubeconfigs are named for who holds them."""

    folder: Path
    authority: pki.Authority
    front_proxy_authority: pki.Authority
    service_accounts: pki.Credential
    api_server: pki.Credential
    kubelet_client: pki.Credential
    front_proxy_client: pki.Credential

    def kubeconfig(self, holder: str) -> Path:
        """The kubeconfig of ``admin``, of a component, or of a node by its name."""
        return self.folder / f"{holder}.kubeconfig"

    def serving(self, node: str) -> pki.Credential:
        """What the node's kubelet serves with."""
        return pki.Credential(self.folder / f"{node}.crt", self.folder / f"{node}.key")


def folder(site: Site) -> Path:
    """Where they lie."""
    return site.folder / "pki"


def create(site: Site) -> Identities:
    """Make them all."""
    home = folder(site)
    authority = pki.Authority.create(home, "ca")
    front_proxy = pki.Authority.create(home, "front-proxy-ca")
    service = [f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    reached_at = [f"IP:{address}" for address in (API_SERVICE, *site.control_plane.addresses, "127.0.0.1")]
    made = Identities(
        home,
        authority,
        front_proxy,
        pki.signing_key(home),
        authority.issue("apiserver", "kube-apiserver", alternatives=(*service, "DNS:localhost", *reached_at)),
        authority.issue("kubelet-client", "kube-apiserver-kubelet-client", group=MASTERS),
        front_proxy.issue("front-proxy-client", "front-proxy-client"),
    )
    holders = {
        "admin": authority.issue("admin", ADMINISTRATOR, group=MASTERS),
        "kube-controller-manager": authority.issue("controllers", "system:kube-controller-manager"),
        "kube-scheduler": authority.issue("scheduler", "system:kube-scheduler"),
    }
    for node in site.nodes:
        names = (f"DNS:{node.name}", *(f"IP:{address}" for address in node.addresses))
        user = f"system:node:{node.name}"
        holders[node.name] = authority.issue(node.name, user, group="system:nodes", alternatives=names)
    for holder, credential in holders.items():
        pki.kubeconfig(made.kubeconfig(holder), server(site), authority, pki.certificate_user(credential))
    return made
