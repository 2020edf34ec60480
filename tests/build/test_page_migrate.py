"""docs/migrate has every flag, annotation and field, as the importers' tables have them."""

import re

import pytest

from agent.migrate.kube_router_annotations import NODE, SERVICE
from agent.migrate.kube_router_flags import FLAGS
from agent.options.origins import option_names
from deploy.build import page_migrate

PAGES = {path.name: path.read_text() for path in page_migrate.FOLDER.glob("*.md")}

# kube-router v2.11, pkg/options/options.go
THEIR_FLAGS = """
advertise-cluster-ip advertise-external-ip advertise-loadbalancer-ip advertise-pod-cidr auto-mtu
bfd-desired-min-tx-interval bfd-detection-multiplier bfd-port bfd-required-min-rx-interval bgp-graceful-restart
bgp-graceful-restart-deferral-time bgp-graceful-restart-time bgp-holdtime bgp-port cache-sync-timeout cleanup-config
cluster-asn disable-source-dest-check enable-bfd enable-cni enable-ibgp enable-ipv4 enable-ipv6 enable-overlay
enable-pod-egress enable-pprof excluded-cidrs gobgp-admin-address gobgp-admin-port hairpin-mode health-addr health-port
help hostname-override injected-routes-sync-period iptables-sync-period ipvs-graceful-period ipvs-graceful-termination
ipvs-permit-all ipvs-sync-period kubeconfig loadbalancer-default-class loadbalancer-ip-range loadbalancer-sync-period
masquerade-all master metrics-addr metrics-path metrics-port netpol-default-deny nodeport-bindon-all-ip
nodes-full-mesh overlay-encap overlay-encap-port overlay-type override-nexthop peer-router-asns peer-router-ips
peer-router-multihop-ttl peer-router-passwords peer-router-passwords-file peer-router-ports router-id
routes-sync-period run-firewall run-loadbalancer run-router run-service-proxy runtime-endpoint service-cluster-ip-range
service-external-ip-range service-node-port-range service-tcp-timeout service-tcpfin-timeout service-udp-timeout
strict-external-ip-validation use-nftables-for-netpol v version
"""
# kube-router v2.11, pkg/controllers
THEIR_ANNOTATIONS = """
bgp-local-addresses node.asn node.bgp.communities node.bgp.customimportreject path-prepend.as path-prepend.repeat-n
peer.asns peer.ips peer.localips peer.passwords peer.ports peers pod-cidr pod-cidrs rr.client rr.server
service.advertise.clusterip service.advertise.externalip service.advertise.loadbalancerip service.dsr service.hairpin
service.hairpin.externalips service.local service.schedflags service.scheduler service.skiplbips
"""


@pytest.mark.parametrize("name", sorted(PAGES))
def test_tables_are_as_the_importers_have_them(name: str) -> None:
    assert page_migrate.renewed(PAGES[name]) == PAGES[name], "run make generate"


def test_every_table_is_in_a_page() -> None:
    assert page_migrate.named(list(PAGES.values())) == page_migrate.tables().keys()


def test_every_flag_and_annotation_of_kube_router_is_there() -> None:
    assert sorted(row.name for row in FLAGS) == sorted(THEIR_FLAGS.split())
    assert sorted(row.name for row in (*NODE, *SERVICE)) == sorted(
        f"kube-router.io/{name}" for name in THEIR_ANNOTATIONS.split()
    )
    page = PAGES["kube-router.md"]
    assert not [name for name in THEIR_FLAGS.split() if f"`--{name}`" not in page]
    assert not [name for name in THEIR_ANNOTATIONS.split() if f"`kube-router.io/{name}`" not in page]


def test_options_that_pages_name_are_there() -> None:
    known = {*option_names(), "kubeconfig"}
    for name, page in PAGES.items():
        for line in page.splitlines():
            cells = line.split("|")
            if len(cells) > 4 and cells[2].strip() == "mapped":
                named = re.findall(r"`([a-z-]+)`(?=[:,;]|$| where| and)", cells[3].strip())
                assert {one for one in named if "-" in one} <= known | {"host-gw"}, (name, line)
