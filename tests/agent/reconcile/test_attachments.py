"""What pods that come and go leave in the maps: the same as if all had been there from the start."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.attachment import Attachment, HostPort, Limit
from agent.model.local import Local
from agent.model.service import Protocol
from maps import abi
from tests.agent.compile.objects import attachment, cluster
from tests.agent.reconcile.kernels import MemoryKernel, Stopped, brought, started

NODE_AND_POD = "192.0.2.1"  # the node claims it too
PODS = (
    *(attachment(f"10.0.0.{i}", i, 100 + i, netns_cookie=i) for i in range(1, 4)),
    attachment(NODE_AND_POD, 4, 104, netns_cookie=4),
    replace(attachment("10.0.0.5", 5, 105, netns_cookie=5), ingress_limit=Limit(8000, 8000)),
    replace(attachment("10.0.0.6", 6, 106, netns_cookie=6), host_ports=(HostPort("", 2000, Protocol.TCP, 80),)),
)
POD_MAPS = ("endpoints", "pod_netns", "limits")
steps = st.lists(st.tuples(st.sampled_from(range(len(PODS))), st.booleans()), min_size=1, max_size=4)


def there(pods: dict[int, Attachment]) -> MemoryKernel:
    """A node that had them from the start."""
    kernel = MemoryKernel()
    brought(kernel, cluster(local=Local(attachments=tuple(pods.values()), netns_cookie=1)))
    return kernel


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(st.tuples(steps, st.none() | st.integers(0, 3)), max_size=5))
def test_pods_that_come_and_go_leave_what_those_that_stay_have(
    is_known: bool,  # noqa: FBT001
    turns: list[tuple[list[tuple[int, bool]], int]],
) -> None:
    kernel, have = MemoryKernel(), dict[int, Attachment]()
    rounds = brought(kernel, cluster(local=Local(netns_cookie=1)))
    if not is_known:
        rounds = started(kernel)
    for batch, death in turns:
        keys = []
        for i, is_coming in batch:
            if is_coming:
                have[i] = PODS[i]
                rounds.attach(PODS[i])
            elif have.pop(i, None):
                rounds.detach(PODS[i])
            keys.append(PODS[i].key)
        kernel.fuse.left = death
        try:
            rounds.serve(keys)
        except Stopped:
            kernel.fuse.left = None
            rounds.serve(keys)
        kernel.fuse.left = None
        held, fresh = kernel.held("endpoints"), there(have).held("endpoints")
        assert {key: value for key, value in held.items() if not value.flags} == {
            key: value for key, value in fresh.items() if not value.flags
        }
        assert kernel.held("pod_netns") == there(have).held("pod_netns")
    brought(kernel, cluster(local=Local(attachments=tuple(have.values()), netns_cookie=1)), rounds)
    fresh_kernel = there(have)
    assert [kernel.held(name) for name in POD_MAPS] == [fresh_kernel.held(name) for name in POD_MAPS]
    assert replace(kernel.node, revision=0) == replace(fresh_kernel.node, revision=0)


def test_a_pod_that_comes_costs_its_own_records() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(local=Local(attachments=PODS[:2], netns_cookie=1)))
    before = kernel.node.revision
    kernel.fuse.writes.clear()
    rounds.attach(PODS[2])
    assert (
        rounds.serve([PODS[2].key]) == 7
    )  # its slot, policy and class, address, link-local one and namespace, and the node's revision
    assert [name for name, _ in kernel.fuse.writes] == [
        "pod_classes",
        "pod_policies",
        "attachments",
        "endpoints",
        "pod_netns",
        "node",
    ]
    assert kernel.node.revision == before + 1
    assert rounds.serve([PODS[2].key]) == 0


def test_a_pod_with_an_address_of_the_nodes_has_it_and_gives_it_back() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(local=Local(netns_cookie=1)))
    mine = next(iter(kernel.held("endpoints").items()))
    rounds.attach(PODS[3])
    rounds.serve([PODS[3].key])
    assert {value.slot for value in kernel.held("endpoints").values()} == {4}
    rounds.detach(PODS[3])
    rounds.serve([PODS[3].key])
    assert dict([mine]) == kernel.held("endpoints")


def test_the_nodes_record_knows_at_once_of_a_pod_with_a_limit_or_a_host_port() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(local=Local(netns_cookie=1)))
    for pod in PODS[4:]:
        rounds.attach(pod)
        rounds.serve([pod.key])
    assert kernel.node.flags & abi.NodeFlag.NODE_LIMITS
    assert kernel.node.nat_port_min > 2000, "the lower range is the smaller one"
