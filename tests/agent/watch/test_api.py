"""The watch threads against a small HTTP server that speaks the API's protocol: lists, streams, cuts, refusals."""

import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Raw

from agent.errors import ConfigError
from agent.kube.client import Client, connect
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.options.config import Options
from agent.threads import Threads
from agent.watch.api import ApiSource
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded, Kind
from agent.watch.decode.kinds import NEEDED, POLICIES
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.network_policy import NETWORK_POLICY
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD
from agent.watch.source import expected, sources
from tests.agent.api_kinds import list_at
from tests.agent.watch.api_server import CUT, END, SERVICES, Api, bookmark, event, kubeconfig, other, web
from tests.agent.watch.conftest import Seen
from tests.ports import held

WEB = ObjectName("default", "web")
PODS = "/api/v1/pods"
PEERS = f"{PODS} {PEER_POD.field_selector}"
NAMES = [kind.name for kind in (*NEEDED, *POLICIES)]


@pytest.fixture
def source(api: Api, seen: Seen, tmp_path: Path) -> Iterator[ApiSource]:
    mirror = seen.mirror(*NEEDED)
    mirror.set_local(mirror.cluster.local)
    threads = Threads()
    client = Client(lambda: connect(kubeconfig(tmp_path, api.port)))
    source = ApiSource(client, "n1", mirror, threads, (*NEEDED, *POLICIES))
    yield source
    source.stop()
    assert threads.trouble() == ""


def has(address: str) -> Callable[[Cluster], bool]:
    name = ObjectName("default", "web")
    return lambda cluster: name in cluster.services and str(cluster.services[name].cluster_ips[0]) == address


def test_a_streaming_list_and_its_changes_arrive(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"))
    seen.until(lambda cluster: cluster.synced)
    seen.until(has("10.96.0.1"))
    api.say(event("MODIFIED", web("4", "10.96.0.4")))
    seen.until(has("10.96.0.4"))
    api.say(event("DELETED", web("5")))
    seen.until(lambda cluster: not cluster.services)
    assert api.tokens == {"Bearer secret"}
    unserved = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
    assert api.selectors == {
        f"{SERVICES} {unserved}",
        f"/apis/discovery.k8s.io/v1/endpointslices {unserved}",
        "/api/v1/pods spec.nodeName=n1",
    }
    (status,) = [status for status in source.status() if status.kind == "Service"]
    assert (status.is_listed, status.trouble, status.restarts, status.events) == (True, "", 0, 3)


def test_a_line_that_comes_in_pieces_is_one_line(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    line = event("ADDED", web("2"))
    api.say(line[:9], line[9:30], line[30:] + bookmark("3")[:5], bookmark("3")[5:])
    seen.until(has("10.96.0.1"))


def test_what_comes_in_one_read_is_one_cluster(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(bookmark("1"))
    seen.until(lambda cluster: cluster.synced and cluster.listed == set(NAMES))
    before = len(seen.clusters)
    api.say(event("ADDED", web("2", "10.96.0.2")) + event("MODIFIED", web("3", "10.96.0.3")))
    seen.until(has("10.96.0.3"))
    assert len(seen.clusters) == before + 1


def test_a_cut_connection_is_taken_up_at_its_revision(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"), event("MODIFIED", web("4", "10.96.0.4")), b'{"type":"ADD', CUT)
    seen.until(has("10.96.0.4"))
    api.asked.get(timeout=60)
    assert api.asked.get(timeout=60)["resourceVersion"] == "4"
    api.say(event("MODIFIED", web("5", "10.96.0.5")))
    seen.until(has("10.96.0.5"))


def test_a_watch_that_ended_in_good_order_goes_on(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(bookmark("3"), END)
    api.asked.get(timeout=60)
    assert api.asked.get(timeout=60)["resourceVersion"] == "3"
    api.say(event("ADDED", web("5", "10.96.0.5")))
    seen.until(has("10.96.0.5"))


def test_a_forgotten_revision_is_listed_again_and_what_went_meanwhile_is_gone(
    api: Api, source: ApiSource, seen: Seen
) -> None:
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"))
    seen.until(has("10.96.0.1"))
    api.say(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}), bookmark("9"))
    seen.until(lambda cluster: not cluster.services)
    api.asked.get(timeout=60)
    assert "sendInitialEvents" in api.asked.get(timeout=60)


def test_a_server_without_streaming_lists_gives_a_plain_one(api: Api, source: ApiSource, seen: Seen) -> None:
    api.knows_streams = False
    source.start()
    seen.until(lambda cluster: cluster.synced)
    seen.until(has("10.96.0.1"))
    api.say(event("MODIFIED", web("4", "10.96.0.4")))
    seen.until(has("10.96.0.4"))


def test_a_token_that_was_renewed_in_its_file_is_read_when_the_old_one_is_refused(
    api: Api, source: ApiSource, seen: Seen, tmp_path: Path
) -> None:
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"))
    seen.until(has("10.96.0.1"))
    api.allowed = "renewed"
    (tmp_path / "token").write_text("renewed")
    api.say(CUT)
    api.say(event("MODIFIED", web("4", "10.96.0.4")))
    seen.until(has("10.96.0.4"))
    assert api.tokens == {"Bearer secret", "Bearer renewed"}


def test_a_bug_in_decoding_makes_the_watch_list_again(
    api: Api, source: ApiSource, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.start()
    api.say(bookmark("3"))
    seen.until(lambda cluster: cluster.synced)
    bugs = iter([ZeroDivisionError("a bug")])

    def decode(decoder: Decoder, kind: Kind, content: Raw) -> Decoded:
        for bug in bugs:
            raise bug
        return right(decoder, kind, content)

    right = Decoder.decode
    monkeypatch.setattr(Decoder, "decode", decode)
    api.say(event("ADDED", web("4", "10.96.0.4")), END)
    api.asked.get(timeout=60)
    assert "sendInitialEvents" in api.asked.get(timeout=60)
    api.say(event("ADDED", web("4", "10.96.0.4")), bookmark("5"))
    seen.until(has("10.96.0.4"))


def test_an_unreachable_server_is_told_and_tried_until_it_is_there(seen: Seen, tmp_path: Path) -> None:
    mirror = seen.mirror(*NEEDED)
    with held() as port:
        source = ApiSource(Client(lambda: connect(kubeconfig(tmp_path, port))), "n1", mirror, Threads())
        source.start()
        try:
            while not all(status.trouble for status in source.status()):
                time.sleep(0.01)
            assert not seen.clusters
            later = Api(port)
            try:
                later.say(event("ADDED", web("2")), bookmark("3"))
                seen.until(has("10.96.0.1"))
            finally:
                later.stop()
        finally:
            source.stop()


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--kubeconfig .*/none"):
        connect(tmp_path / "none")


def test_a_kind_is_watched_from_when_it_is_needed_until_it_is_not(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(bookmark("1"))
    seen.until(lambda cluster: cluster.synced)
    assert [status.kind for status in source.status()] == NAMES
    for kind in (POD, NAMESPACE):
        source.unwatch(kind)
    assert {status.kind for status in source.status()}.isdisjoint({"Pod", "Namespace"})
    source.watch(POD)
    source.watch(POD)
    source.watch(NAMESPACE)
    eventually(lambda: {s.kind for s in source.status() if s.is_listed} >= {"Pod", "Namespace"})
    assert seen.clusters[-1].synced, "nobody waits for them"
    source.unwatch(POD)
    assert "Pod" not in {status.kind for status in source.status()}


def test_peers_are_watched_from_when_a_policy_means_them_until_none_does(
    api: Api, source: ApiSource, seen: Seen
) -> None:
    source.start()
    api.say(bookmark("1"))
    seen.until(lambda cluster: cluster.synced and cluster.listed >= set(NAMES))
    pods = [pod("a", "n1", "2"), pod("b", "n2", "3")]
    api.say(*(event("ADDED", each) for each in pods), bookmark("4", "Pod"), path=PEERS)
    assert "PeerPod" not in seen.clusters[-1].listed
    source.watch(PEER_POD)
    cluster = seen.until(lambda cluster: "PeerPod" in cluster.listed)
    assert {name.name for name in cluster.peers} == {"a", "b"}
    assert not cluster.pods, "this node's own pods come by their own watch"
    assert PEERS in api.selectors
    assert {"Pod", "PeerPod"} <= {status.kind for status in source.status()}
    api.say(event("DELETED", pod("b", "n2", "5")), path=PEERS)
    seen.until(lambda cluster: len(cluster.peers) == 1)
    source.unwatch(PEER_POD)
    cluster = seen.clusters[-1]
    assert (dict(cluster.peers), "PeerPod" in cluster.listed, "Pod" in cluster.listed) == ({}, False, True)
    assert not any(there for there in seen.clusters if "PeerPod" in there.listed and not there.peers)
    eventually(lambda: "watch-peers" not in {thread.name for thread in threading.enumerate()})
    api.say(event("ADDED", pods[1]), bookmark("9", "Pod"), path=PEERS)
    source.watch(PEER_POD)
    seen.until(lambda cluster: [name.name for name in cluster.peers] == ["b"])


def test_a_watch_that_was_refused_leaves_no_problem_behind(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(bookmark("1"))
    seen.until(lambda cluster: cluster.synced and cluster.listed == set(NAMES))
    api.answers[PODS] = 403
    source.watch(PEER_POD)
    assert [str(problem.name) for problem in seen.until(lambda cluster: cluster.problems).problems] == ["pods"]
    source.unwatch(PEER_POD)
    assert not seen.clusters[-1].problems


@pytest.mark.parametrize(
    ("path", "kind"), [(CLUSTER_NETWORK_POLICY.path, "ClusterNetworkPolicy"), (NETWORK_POLICY.path, "NetworkPolicy")]
)
def test_a_policy_that_may_not_be_read_is_a_problem_and_no_empty_list(
    path: str, kind: str, api: Api, source: ApiSource, seen: Seen
) -> None:
    api.answers[path] = 403
    source.start()
    api.say(bookmark("1"))
    cluster = seen.until(lambda cluster: cluster.synced and cluster.problems)
    assert [str(problem.name) for problem in cluster.problems] == [path.rpartition("/")[2]]
    assert kind not in cluster.listed
    assert [status.kind for status in source.status() if status.is_denied] == [kind]
    api.answers.clear()
    seen.until(lambda cluster: kind in cluster.listed and not cluster.problems)


def test_network_policies_are_of_every_api_server(api: Api, source: ApiSource, seen: Seen) -> None:
    api.answers[NETWORK_POLICY.path] = 404
    source.start()
    api.say(bookmark("1"))
    cluster = seen.until(lambda cluster: cluster.problems)
    assert "NetworkPolicy" not in cluster.listed


@pytest.mark.parametrize("is_on", [True, False])
def test_policies_are_watched_where_they_are_enforced(
    is_on: bool,  # noqa: FBT001
    api: Api,
    seen: Seen,
    tmp_path: Path,
) -> None:
    options = Options(node_name="n1", network_policy=is_on)
    client = Client(lambda: connect(kubeconfig(tmp_path, api.port)))
    found = sources(options, client, seen.mirror(*expected(options)), Threads())
    assert [status.kind for status in found.objects.status()] == [kind.name for kind in NEEDED] + [
        kind.name for kind in POLICIES if is_on
    ]


def test_a_list_that_is_forbidden_is_a_problem_that_names_it(api: Api, source: ApiSource, seen: Seen) -> None:
    for _ in range(3):
        api.refusals.put((403, {}, {"kind": "Status", "message": "services is forbidden"}))
    source.start()
    (problem,) = seen.until(lambda cluster: cluster.problems).problems
    assert (problem.kind, problem.name, problem.field) == ("Watch", ObjectName("", "services"), "list")
    assert problem.text.startswith("HTTP 403: services is forbidden; the agent must be allowed to list and watch")
    assert {s.kind: s.trouble for s in source.status() if s.is_denied} == {"Service": "HTTP 403: services is forbidden"}
    api.say(event("ADDED", web("2")), bookmark("3"))
    assert seen.until(has("10.96.0.1")).problems == ()


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((429, {"Retry-After": "1"}, {"kind": "Status"}), id="too many requests"),
        pytest.param((504, {}, {"kind": "Status", "message": "request timed out"}), id="a slow server"),
        pytest.param((500, {}, {"kind": "Status", "details": {"retryAfterSeconds": 1}}), id="an error with a wait"),
        pytest.param((503, {}, {}), id="a balancer without servers"),
    ],
)
def test_a_refusal_that_passes_is_waited_for(
    refusal: tuple[int, dict[str, str], object], api: Api, source: ApiSource, seen: Seen
) -> None:
    api.refusals.put(refusal)
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"))
    seen.until(has("10.96.0.1"))
    assert next(status for status in source.status() if status.kind == "Service").restarts == 1


def test_the_older_list_of_a_server_that_lags_is_not_taken(api: Api, source: ApiSource, seen: Seen) -> None:
    source.start()
    api.say(event("ADDED", web("2")), bookmark("3"), event("MODIFIED", web("9", "10.96.0.9")))
    seen.until(has("10.96.0.9"))
    api.say(event("ERROR", {"kind": "Status", "code": 410}))
    api.asked.get(timeout=60)
    assert api.asked.get(timeout=60)["resourceVersion"] == "9"
    api.say(event("ADDED", web("2")), bookmark("3"))  # as it was before
    assert "sendInitialEvents" in api.asked.get(timeout=60)
    api.say(event("ADDED", web("11", "10.96.0.11")), bookmark("12"))
    seen.until(has("10.96.0.11"))
    held = [str(c.services[WEB].cluster_ips[0]) for c in seen.clusters if WEB in c.services]
    assert list(dict.fromkeys(held)) == ["10.96.0.1", "10.96.0.9", "10.96.0.11"]


def test_a_plain_list_is_told_again_as_the_same_values(api: Api, source: ApiSource, seen: Seen) -> None:
    api.knows_streams = False
    source.start()
    seen.until(has("10.96.0.1"))
    before = seen.clusters[-1].services[WEB]
    body = json.dumps(list_at(SERVICES, "20", [web("2"), other("5")])).encode()
    api.lists.put([body[at : at + 11] for at in range(0, len(body), 11)])
    api.say(event("ERROR", {"kind": "Status", "code": 410}))
    after = seen.until(lambda cluster: len(cluster.services) == 2)
    assert after.services[WEB] is before


def test_a_proxys_answer_takes_no_service_away(api: Api, source: ApiSource, seen: Seen) -> None:
    api.knows_streams = False
    source.start()
    seen.until(has("10.96.0.1"))
    api.lists.put([b'{"status":"ok"}'])
    api.say(event("ERROR", {"kind": "Status", "code": 410}))
    eventually(lambda: any("no ServiceList" in status.trouble for status in source.status()))
    api.lists.put([json.dumps(list_at(SERVICES, "20", [web("2"), other("5")])).encode()])
    seen.until(lambda cluster: len(cluster.services) == 2)
    first = next(at for at, cluster in enumerate(seen.clusters) if WEB in cluster.services)
    assert all(WEB in cluster.services for cluster in seen.clusters[first:])


def test_no_list_is_in_memory_at_once(api: Api, source: ApiSource, seen: Seen) -> None:
    api.knows_streams = False
    size = 40_000_000
    filler = {**web("2"), "status": {"filler": "x" * 20_000}}
    item = json.dumps(filler).encode()
    api.lists.put(
        [
            b'{"kind":"ServiceList","metadata":{"resourceVersion":"5"},"items":[' + item,
            *[b"," + item] * (size // len(item)),
            b"]}",
        ]
    )
    tracemalloc.start()
    source.start()
    seen.until(has("10.96.0.1"), 60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 8


def pod(name: str, node: str, revision: str) -> dict[str, object]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": revision},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": f"10.1.0.{revision}"},
    }


def eventually(holds: Callable[[], object], timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
