"""A folder of YAML as the API: real files, real inotify."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model.name import ObjectName
from agent.threads import Threads
from agent.watch.manifests import EXPECTED, ManifestsSource
from tests.agent.watch.conftest import Seen

WEB = ObjectName("default", "web")
DNS = ObjectName("kube-system", "dns")


def service(name: str, address: str, namespace: str = "") -> str:
    where = f", namespace: {namespace}" if namespace else ""
    return f"""
kind: Service
apiVersion: v1
metadata: {{name: {name}{where}}}
spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}
"""


def move_in(path: Path, text: str) -> None:
    """Write as a careful writer does: beside it, then rename into place."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.rename(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def source(folder: Path, seen: Seen) -> Iterator[ManifestsSource]:
    mirror = seen.mirror(*EXPECTED)
    mirror.set_local(mirror.cluster.local)
    source = ManifestsSource(folder, "n1", mirror, Threads())
    yield source
    source.stop()


def test_an_empty_folder_is_a_whole_list(source: ManifestsSource, seen: Seen) -> None:
    source.start()
    assert seen.until(lambda cluster: cluster.synced).services == {}


def test_documents_lists_and_other_kinds_are_told_apart(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    (folder / "all.yaml").write_text(
        f"""{service("web", "10.96.0.1")}---
kind: ConfigMap
metadata: {{name: settings}}
data: {{a: b}}
---
---
kind: List
items:
- kind: Service
  metadata: {{name: dns, namespace: kube-system}}
  spec: {{clusterIP: 10.96.0.2, ports: [{{port: 53}}]}}
---
kind: NodeList
items:
- metadata: {{name: n1}}
"""
    )
    (folder / "notes.txt").write_text("kind: Service")
    source.start()
    cluster = seen.until(lambda cluster: cluster.synced)
    assert set(cluster.services) == {WEB, DNS}
    assert set(cluster.nodes) == {"n1"}
    assert cluster.problems == ()


POLICIES = """
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: deny}
spec: {podSelector: {}}
---
kind: NetworkPolicy
apiVersion: projectcalico.org/v3
metadata: {name: calico}
spec: {selector: all()}
---
kind: ClusterNetworkPolicy
apiVersion: policy.networking.k8s.io/v1beta1
metadata: {name: guard}
spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}
---
kind: PodList
apiVersion: v1
items:
- {metadata: {name: here}, spec: {nodeName: n1}, status: {podIP: 10.1.0.2}}
- {metadata: {name: there}, spec: {nodeName: n2}, status: {podIP: 10.2.0.2}}
---
kind: NetworkPolicyList
apiVersion: projectcalico.org/v3
items: [{metadata: {name: listed}}]
"""


def test_policies_and_pods_of_all_nodes_are_read(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    (folder / "policies.yaml").write_text(POLICIES)
    source.start()
    cluster = seen.until(lambda cluster: cluster.synced)
    assert set(cluster.policies) == {ObjectName("default", "deny")}, "Calico's have the name alone in common"
    assert set(cluster.cluster_policies) == {"guard"}
    assert [name.name for name in cluster.pods] == ["here"]
    assert {name.name for name in cluster.peers} == {"here", "there"}
    assert cluster.listed == {kind.name for kind in EXPECTED}
    assert cluster.problems == ()


def test_an_empty_folder_lists_all_kinds(source: ManifestsSource, seen: Seen) -> None:
    source.start()
    assert seen.until(lambda cluster: cluster.synced).listed >= {"NetworkPolicy", "ClusterNetworkPolicy", "PeerPod"}


def test_files_come_change_and_go(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    source.start()
    seen.until(lambda cluster: cluster.synced)
    move_in(folder / "web.yaml", service("web", "10.96.0.1"))
    seen.until(lambda cluster: WEB in cluster.services)
    (folder / "web.yaml").write_text(service("web", "10.96.0.9"))
    seen.until(lambda cluster: str(cluster.services[WEB].cluster_ips[0]) == "10.96.0.9")
    (folder / "web.yaml").rename(folder / "other.yaml")
    (folder / "other.yaml").unlink()
    seen.until(lambda cluster: not cluster.services)


def test_a_file_is_not_read_while_it_is_written(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    source.start()
    seen.until(lambda cluster: cluster.synced)
    with (folder / "two.yaml").open("w") as half:
        half.write(service("web", "10.96.0.1") + "---\n")
        half.flush()
        move_in(folder / "dns.yaml", service("dns", "10.96.0.2", "kube-system"))
        assert set(seen.until(lambda cluster: cluster.services).services) == {DNS}
        half.write(service("api", "10.96.0.3"))
    seen.until(lambda cluster: WEB in cluster.services)
    assert [sorted(map(str, c.services)) for c in seen.clusters if WEB in c.services] == [
        ["default/api", "default/web", "kube-system/dns"]
    ]


def test_a_broken_file_is_reported_and_keeps_what_it_said(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    (folder / "web.yaml").write_text(service("web", "10.96.0.1"))
    source.start()
    seen.until(lambda cluster: cluster.synced)
    move_in(folder / "web.yaml", "kind: Service\n\tmetadata")
    cluster = seen.until(lambda cluster: cluster.problems)
    assert set(cluster.services) == {WEB}
    assert str(cluster.problems[0]).startswith("File web.yaml")
    assert cluster.problems[0].text.endswith("the objects that it had before stay")
    move_in(folder / "web.yaml", service("web", "10.96.0.7"))
    assert not seen.until(lambda cluster: not cluster.problems).problems


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("just a word", id="a scalar is no object"),
        pytest.param("[1, 2]", id="nor is a sequence"),
        pytest.param("kind: ServiceList\nitems: [1]", id="nor is a list's item that is a number"),
        pytest.param("\x80", id="control characters are no YAML"),
        pytest.param('kind: Service\nmetadata: {name: !!int ""}', id="nor is a number without digits"),
        pytest.param("kind: Service\nmetadata: {name: x}\nspec: &a\n  self: *a\n", id="an alias that contains itself"),
        pytest.param("kind: List\nitems: &a [{kind: List, items: *a}]", id="a list that contains itself"),
        pytest.param("spec: " + "{a: " * 2_000 + "}" * 2_000, id="a mapping nested 2,000 deep"),
        pytest.param("spec: " + "[" * 100_000 + "]" * 100_000, id="a sequence nested deeper than any stack"),
        pytest.param("\n".join(f"{' ' * n}a:" for n in range(2_000)), id="block mappings nested as deep"),
        pytest.param("- " * 50_000 + "a", id="block sequences nested as deep in one line"),
    ],
)
def test_what_is_no_manifest_is_reported(text: str, source: ManifestsSource, folder: Path, seen: Seen) -> None:
    (folder / "web.yaml").write_text(service("web", "10.96.0.1"))
    (folder / "x.yaml").write_text(text)
    source.start()
    cluster = seen.until(lambda cluster: cluster.problems)
    assert [problem.name.name for problem in cluster.problems] == ["x.yaml"]
    assert set(cluster.services) == {WEB}


def test_an_object_in_two_files_is_that_of_the_first_by_name(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    (folder / "b.yaml").write_text(service("web", "10.96.0.2"))
    (folder / "a.yaml").write_text(service("web", "10.96.0.1"))
    source.start()
    cluster = seen.until(lambda cluster: cluster.problems)
    assert str(cluster.services[WEB].cluster_ips[0]) == "10.96.0.1"
    assert str(cluster.problems[0]) == "Service default/web: b.yaml: is already in a.yaml; that one holds"
    (folder / "a.yaml").unlink()
    cluster = seen.until(lambda cluster: not cluster.problems)
    assert str(cluster.services[WEB].cluster_ips[0]) == "10.96.0.2"


def test_a_folder_that_goes_keeps_its_last_state_and_is_followed_again(
    source: ManifestsSource, folder: Path, seen: Seen
) -> None:
    (folder / "web.yaml").write_text(service("web", "10.96.0.1"))
    source.start()
    seen.until(lambda cluster: cluster.synced)
    gone = folder.rename(folder.with_name("gone"))
    folder.mkdir()
    shutil.rmtree(gone)
    (folder / "dns.yaml").write_text(service("dns", "10.96.0.2", "kube-system"))
    seen.until(lambda cluster: set(cluster.services) == {DNS})


def test_a_folder_that_is_not_there_yet_is_waited_for(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    folder.rmdir()
    source.start()
    folder.mkdir()
    seen.until(lambda cluster: cluster.synced)


def test_a_volume_exchanged_by_its_link_is_read_anew(source: ManifestsSource, folder: Path, seen: Seen) -> None:
    for name, address in (("..one", "10.96.0.1"), ("..two", "10.96.0.2")):
        (folder / name).mkdir()
        (folder / name / "web.yaml").write_text(service("web", address))
    (folder / "..data").symlink_to("..one")
    (folder / "web.yaml").symlink_to("..data/web.yaml")
    source.start()
    seen.until(lambda cluster: cluster.synced)
    (folder / "..new").symlink_to("..two")
    (folder / "..new").rename(folder / "..data")
    seen.until(lambda cluster: str(cluster.services[WEB].cluster_ips[0]) == "10.96.0.2")
