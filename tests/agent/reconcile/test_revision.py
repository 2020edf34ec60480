"""Which changes of the maps make flows look again at their ends: the revisions that a round raises."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest

from agent.model.local import Local
from agent.model.service import Service
from agent.reconcile.revision import REVISIONS, Revision
from maps import abi
from maps.plan import Changes
from tests.agent.compile.objects import HTTP, attachment, cluster, endpoint, piece, service
from tests.agent.reconcile.kernels import MemoryKernel, brought

ONE, TWO = (endpoint(f"10.0.0.{i}") for i in (1, 2))
FREE = ip_address("203.0.113.9")
SEVERAL: dict[str, Any] = {"external_ips": (FREE,), "ports": (replace(HTTP, node_port=30080),)}


def test_a_backend_that_leaves_raises_its_sets_revision_and_one_that_comes_none() -> None:
    kernel = MemoryKernel()
    others = (service("b"), piece("b", ONE), service("c"), piece("c", ONE))
    rounds = brought(kernel, cluster(service(), piece("web", ONE), *others))
    first, node = kernel.held("set_revisions"), kernel.node.revision
    brought(kernel, cluster(service(), piece("web", ONE, TWO), *others), rounds)
    assert kernel.held("set_revisions") == first
    brought(kernel, cluster(service(), piece("web", TWO), *others), rounds)
    two = IPv6Address("::ffff:10.0.0.2")
    ids = {key.set_id for key, backend in kernel.held("backends").items() if backend.addr == two}
    raised = {index for index, found in kernel.held("set_revisions").items() if found != first[index]}
    assert raised == ids
    assert kernel.node.revision == node, "the flows of other sets have nothing to look at"


def test_sets_a_multiple_apart_share_a_revision_and_an_earlier_agents_counts_on() -> None:
    tables = MemoryKernel().tables
    size = tables["set_revisions"].max_entries
    tables["set_revisions"].update([(5, abi.SetRevision(REVISIONS - 1)), (6, abi.SetRevision(40))])
    revision = Revision(tables["node"], tables["set_revisions"])
    revision.follow({"backends": Changes({}, (abi.BackendKey(5, 0).pack(), abi.BackendKey(size + 6, 9).pack()))})
    revision.write()
    assert (tables["set_revisions"].get(5), tables["set_revisions"].get(6)) == (abi.SetRevision(0), abi.SetRevision(41))


def test_the_generation_rises_when_a_services_address_comes_or_goes_and_not_with_its_backends() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(service(), piece("web", ONE)))
    first = kernel.node.revision
    brought(kernel, cluster(service(), piece("web")), rounds)
    assert kernel.node.revision == first
    brought(kernel, cluster(service(), piece("web"), service("b", "10.96.0.2"), piece("b", ONE)), rounds)
    assert kernel.node.revision == first + 1
    brought(kernel, cluster(service(), piece("web")), rounds)
    assert kernel.node.revision == first + 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            [service("a", external_ips=(FREE,)), service("b", "10.96.0.2", external_ips=(FREE,))],
            [service("a"), service("b", "10.96.0.2", external_ips=(FREE,))],
            id="an address passes from one Service to another",
        ),
        pytest.param(
            [service("a", **SEVERAL), service("b", "10.96.0.2")],
            [service("a", **SEVERAL, external_local=True), service("b", "10.96.0.2")],
            id="a Service's traffic policy is another",
        ),
    ],
)
def test_the_generation_rises_when_an_address_that_stays_leads_to_another_set(
    before: list[Service], after: list[Service]
) -> None:
    pieces = piece("a", ONE), piece("b", TWO)
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(*before, *pieces))
    first = kernel.node.revision
    brought(kernel, cluster(*after, *pieces), rounds)
    assert kernel.node.revision == first + 1, "UDP flows would stay with whom the address led to"


def test_what_somebody_else_made_an_address_lead_to_is_put_right_for_flows_too() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(service(), piece("web", ONE)))
    table = kernel.tables["services"]
    ((key, value),) = table.items()
    table.update([(key, replace(value, set_id=value.set_id + 1))])
    first = kernel.node.revision
    assert list(rounds.resync())
    assert (table.get(key), kernel.node.revision) == (value, first + 1)


def test_the_generation_rises_when_a_pod_comes_or_goes() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster())
    first = kernel.node.revision
    brought(kernel, cluster(local=Local(attachments=(attachment(),), netns_cookie=1)), rounds)
    assert (kernel.node.revision, kernel.pods.last) == (first + 1, {12: "swp0123456789"})
    brought(kernel, cluster(), rounds)
    assert kernel.node.revision == first + 2


def test_a_pod_attached_while_a_backend_leaves_does_not_take_its_generation() -> None:
    kernel = MemoryKernel()
    many = [endpoint(f"10.9.{i >> 8}.{i & 255}") for i in range(1200)]
    rounds = brought(kernel, cluster(service(), piece("web", *many)))
    revisions = []
    for turn, _ in enumerate(rounds.round(cluster(service(), piece("web", ONE)))):
        if len(kernel.held("backends")) == 1 or turn > 9:
            break
        pod = attachment(f"10.0.1.{turn}", 100 + turn, 100 + turn, netns_cookie=turn + 1)
        rounds.attach(pod)
        rounds.serve([pod.key])
        revisions.append(kernel.node.revision)
    assert revisions
    brought(kernel, cluster(service(), piece("web", ONE)), rounds)
    assert kernel.node.revision > revisions[-1]
