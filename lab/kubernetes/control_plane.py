"""etcd, the API server, the controller manager and the scheduler, all on one machine."""

import time

from lab.errors import LabError
from lab.kubernetes.addresses import API_PORT, POD_CIDRS, SERVICE_CIDRS, cidr_list
from lab.kubernetes.build import Artifacts
from lab.kubernetes.identities import Identities
from lab.kubernetes.kubectl import Kubectl
from lab.site import Site

ETCD = "http://127.0.0.1:2379"
READY_WITHIN_S = 180.0


class ClusterError(LabError):
    """A part of the cluster did not come up; the message ends with its log."""


def start(site: Site, artifacts: Artifacts, who: Identities, kubectl: Kubectl) -> None:
    """Start the four; returns when the API server says it is ready.

    Raises:
        ClusterError: it did not.
    """
    host = site.control_plane
    host.daemon("etcd", [artifacts.program("etcd"), *_etcd(site)])
    host.daemon("kube-apiserver", [artifacts.program("kube-apiserver"), *_api_server(site, who)])
    wait_for_api(site, kubectl)
    for name, more in (("kube-controller-manager", _controllers(who)), ("kube-scheduler", [])):
        config = who.kubeconfig(name)
        clients = [f"--{purpose}kubeconfig={config}" for purpose in ("", "authentication-", "authorization-")]
        alone = ["--leader-elect=false", "--bind-address=127.0.0.1"]
        host.daemon(name, [artifacts.program(name), *clients, *alone, *more])


def wait_for_api(site: Site, kubectl: Kubectl) -> None:
    """Return when the API server is ready."""
    deadline = time.monotonic() + READY_WITHIN_S
    while kubectl.run("get", "--raw", "/readyz", check=False).returncode:
        if time.monotonic() > deadline:
            raise ClusterError(f"the API server is not ready: {site.control_plane.log_tail('kube-apiserver')}")
        time.sleep(0.3)


def _etcd(site: Site) -> list[str]:
    return [
        f"--data-dir={site.control_plane.home / 'etcd'}",
        "--unsafe-no-fsync",  # a cluster that lives for minutes
        "--log-level=warn",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
    ]


def _api_server(site: Site, who: Identities) -> list[str]:
    return [
        f"--etcd-servers={ETCD}",
        f"--advertise-address={site.control_plane.addresses[0]}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={cidr_list(SERVICE_CIDRS)}",
        f"--cert-dir={site.control_plane.home}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={who.authority.own.public}",
        f"--tls-cert-file={who.api_server.public}",
        f"--tls-private-key-file={who.api_server.private}",
        f"--kubelet-certificate-authority={who.authority.own.public}",
        f"--kubelet-client-certificate={who.kubelet_client.public}",
        f"--kubelet-client-key={who.kubelet_client.private}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={who.service_accounts.public}",
        f"--service-account-signing-key-file={who.service_accounts.private}",
        # aggregated API servers, which upstream's tests bring
        "--enable-aggregator-routing=true",
        f"--proxy-client-cert-file={who.front_proxy_client.public}",
        f"--proxy-client-key-file={who.front_proxy_client.private}",
        f"--requestheader-client-ca-file={who.front_proxy_authority.own.public}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]


def _controllers(who: Identities) -> list[str]:
    return [
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={cidr_list(POD_CIDRS)}",
        f"--service-cluster-ip-range={cidr_list(SERVICE_CIDRS)}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={who.service_accounts.private}",
        f"--root-ca-file={who.authority.own.public}",
        f"--client-ca-file={who.authority.own.public}",
        f"--cluster-signing-cert-file={who.authority.own.public}",
        f"--cluster-signing-key-file={who.authority.own.private}",
        f"--requestheader-client-ca-file={who.front_proxy_authority.own.public}",
    ]
