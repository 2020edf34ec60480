"""A resource that need not be there: it may come, go with its objects, or be missing where a server starts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.kube.client import Client, connect
from agent.kube.retry import refusal
from agent.model.cluster import Cluster
from agent.threads import Threads
from agent.watch import stream as protocol
from agent.watch.api import ApiSource
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.kinds import NEEDED
from agent.watch.decode.multi_network_policy import MULTI_NETWORK_POLICY
from agent.watch.met import Met
from agent.watch.stream import ABSENT_S, WENT_S, Stream
from tests.agent.watch.api_server import CUT, SERVICES, Api, bookmark, event, kubeconfig
from tests.agent.watch.conftest import Seen
from tests.agent.watch.test_api import eventually
from tests.agent.watch.test_stream import END, Clock, fed, line, listed, stream, told

NAME, PATH = CLUSTER_NETWORK_POLICY.name, CLUSTER_NETWORK_POLICY.path
(OLDER,) = CLUSTER_NETWORK_POLICY.older_paths
KINDS = (*NEEDED, CLUSTER_NETWORK_POLICY, MULTI_NETWORK_POLICY)


def absent(watch: Stream, *, is_held: bool = False) -> list[str]:
    return [told(event) for event in watch.absent(refusal(404), is_held=is_held)]


def test_it_is_an_empty_list_and_looked_for_soon_and_then_at_long_intervals() -> None:
    clock = Clock()
    clock.now = 9
    watch = stream(clock)
    watch.request()
    assert absent(watch) == ["listed"]
    assert (watch.is_listed, watch.trouble, watch.is_denied, watch.restarts, watch.heard_at) == (True, "", False, 0, 9)
    waits = []
    for _ in range(9):
        request = watch.request()
        waits.append(request.delay_s)
        assert (request.begins_list, dict(request.query).get("sendInitialEvents")) == (True, "true")
        assert absent(watch) == []
    assert waits == [1.5, 3, 6, 12, 24, 48, 60, 60, 60]
    assert ABSENT_S[0] <= waits[-1] <= ABSENT_S[1]
    fed(watch, END)  # it came, and went again
    absent(watch)
    assert watch.request().delay_s == waits[0]


def test_one_that_comes_is_listed_as_any() -> None:
    watch = stream()
    watch.request()
    absent(watch)
    watch.request()
    assert fed(watch, line("ADDED", "a"), END, line("ADDED", "b", "8")) == ["has a", "listed", "changed b"]
    assert watch.request().delay_s == 0


def test_objects_that_nobody_deleted_stay_however_long_their_resource_is_not_there() -> None:
    clock = Clock()
    watch = listed(stream(clock))
    watch.request()
    assert absent(watch, is_held=True) == []
    assert (watch.is_listed, watch.is_denied, watch.is_kept) == (True, False, False)
    assert "is kept" in watch.trouble
    assert watch.request().delay_s < 1
    for clock.now in (WENT_S - 1, WENT_S, 100 * WENT_S):
        assert absent(watch, is_held=True) == []
        assert watch.is_kept is (clock.now >= WENT_S), "then somebody is to look"
        watch.request()
    fed(watch, END)
    assert (watch.is_kept, watch.trouble) == (False, "")
    watch.request()
    assert absent(watch) == ["listed"], "with its objects deleted it is as good as empty"


def test_one_that_was_there_before_the_start_is_not_taken_for_empty_at_once() -> None:
    clock = Clock()
    watch = Stream("Service", draw=lambda: 0.5, clock=clock, was_there=True)
    watch.request()
    assert absent(watch) == []
    assert (watch.is_listed, "before the agent's start" in watch.trouble) == (False, True)
    watch.request()
    watch.failed("refused")  # the server starts once more
    clock.now = WENT_S
    watch.request()
    assert absent(watch) == [], "one row of answers alone makes it go"
    found: list[str] = []
    for _ in range(99):
        delay_s = watch.request().delay_s
        assert clock.now + delay_s <= 2 * WENT_S, "it is looked for when that is over"
        clock.now += delay_s
        if found := absent(watch):
            break
    assert (found, clock.now) == (["listed"], 2 * WENT_S)


def policy(revision: str, name: str = "guard") -> dict[str, object]:
    return {
        "kind": NAME,
        "metadata": {"name": name, "resourceVersion": revision},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
    }


Start = Callable[[], tuple[ApiSource, Seen]]


@pytest.fixture
def start(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Begin an agent's watches on one --run-dir, those of an agent before having ended."""
    monkeypatch.setattr(protocol, "ABSENT_S", (0.01, 0.02))
    del api.said[SERVICES]  # there are none
    running: list[ApiSource] = []

    def begin() -> tuple[ApiSource, Seen]:
        for one in running:
            one.stop()
        seen, client = Seen(), Client(lambda: connect(kubeconfig(tmp_path, api.port)))
        mirror = seen.mirror(*KINDS)
        mirror.set_local(mirror.cluster.local)
        source = ApiSource(client, "n1", mirror, Threads(), KINDS, met=Met(tmp_path / "kinds"))
        running.append(source)
        source.start()
        return source, seen

    yield begin
    for one in running:
        one.stop()


def is_empty(cluster: Cluster) -> bool:
    return cluster.synced and NAME in cluster.listed and not cluster.cluster_policies


@contextmanager
def without(api: Api) -> Iterator[None]:
    """The server lacks the resource for so long."""
    api.answers.update({PATH: 404, OLDER: 404})
    yield
    del api.answers[PATH]


def test_one_that_is_not_there_is_waited_for_in_silence(api: Api, start: Start) -> None:
    with without(api):
        source, seen = start()
        cluster = seen.until(is_empty)
        (status,) = (status for status in source.status() if status.kind == NAME)
        assert (status.is_listed, status.trouble, status.is_denied, cluster.problems) == (True, "", False, ())
        asked = [path for path in api.paths if path in {PATH, OLDER}]
        assert asked[:2] == [PATH, OLDER]
        api.say(event("ADDED", policy("2")), bookmark("3", NAME), path=PATH)
    cluster = seen.until(lambda cluster: "guard" in cluster.cluster_policies)
    assert cluster.problems == ()


def test_an_older_version_of_it_is_read_where_the_newer_is_not_there(api: Api, start: Start) -> None:
    api.answers[PATH] = 404
    api.say(event("ADDED", policy("2")), bookmark("3", NAME), path=OLDER)
    _, seen = start()
    cluster = seen.until(lambda cluster: NAME in cluster.listed)
    assert set(cluster.cluster_policies) == {"guard"}


@pytest.fixture
def told_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WENT_S", 0.0)


@pytest.mark.usefixtures("told_late")
def test_policies_stay_while_their_resource_is_not_there_and_somebody_is_told(api: Api, start: Start) -> None:
    api.say(event("ADDED", policy("2")), bookmark("3", NAME), path=PATH)
    _, seen = start()
    seen.until(lambda cluster: cluster.cluster_policies)
    since = len(seen.clusters)
    with without(api):
        api.say(CUT, path=PATH)
        (problem,) = seen.until(lambda cluster: cluster.problems).problems
        assert (str(problem.name), PATH in problem.text) == ("clusternetworkpolicies", True)
        api.say(event("ADDED", policy("4")), event("ADDED", policy("5", "more")), bookmark("6", NAME), path=PATH)
    cluster = seen.until(lambda cluster: "more" in cluster.cluster_policies and not cluster.problems)
    assert set(cluster.cluster_policies) == {"guard", "more"}
    assert all("guard" in each.cluster_policies for each in seen.clusters[since:])


@pytest.mark.usefixtures("told_late")
def test_a_resource_that_is_deleted_with_its_objects_and_applied_again_is_found_again(api: Api, start: Start) -> None:
    """As by an upgrade of whatever has its CustomResourceDefinition: what is deleted is, and nothing else."""
    api.say(event("ADDED", policy("2")), bookmark("3", NAME), path=PATH)
    _, seen = start()
    seen.until(lambda cluster: cluster.cluster_policies)
    with without(api):
        api.say(event("DELETED", policy("4")), CUT, path=PATH)
        seen.until(is_empty)
        eventually(lambda: api.paths.count(OLDER) > 1)  # it is asked for at all its paths, again and again
        api.say(event("ADDED", policy("7")), bookmark("8", NAME), path=PATH)
    seen.until(lambda cluster: "guard" in cluster.cluster_policies and not cluster.problems)


def test_an_agent_that_starts_while_the_server_reads_its_resources_waits_with_what_the_node_has(
    api: Api, start: Start
) -> None:
    """No Cluster without the policies is whole, so nothing takes the pods' rules away."""
    api.say(event("ADDED", policy("2")), bookmark("3", NAME), path=PATH)
    _, seen = start()
    seen.until(lambda cluster: cluster.cluster_policies)
    with without(api):
        source, seen = start()
        eventually(lambda: any("before the agent's start" in status.trouble for status in source.status()))
        eventually(lambda: api.paths.count(OLDER) > 1)
        assert not any(cluster.synced or NAME in cluster.listed for cluster in seen.clusters)
        api.say(event("ADDED", policy("4")), bookmark("5", NAME), path=PATH)
    seen.until(lambda cluster: cluster.synced)
    assert not any(is_empty(cluster) for cluster in seen.clusters)


def test_one_that_was_found_gone_holds_no_later_start_up(
    api: Api, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, seen = start()
    seen.until(is_empty)
    with without(api):
        for wait_s in (0.0, WENT_S):
            monkeypatch.setattr(protocol, "WENT_S", wait_s)
            _, seen = start()
            seen.until(is_empty)
