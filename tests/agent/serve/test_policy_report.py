"""The file with the words of policies and the names of addresses: what it says, and when it is written."""

import logging
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.compile.atom import Meaning, PortPeer
from agent.compile.desired import Desired
from agent.model.address import Address, parse_network
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    NodePeer,
    Operator,
    PodPeer,
    Requirement,
    Selector,
)
from agent.model.service import Protocol
from agent.serve import report_file
from agent.serve.policy_report import FILE, PolicyReport, PolicyReporter, read
from agent.serve.policy_words import meaning_words, selector_words
from tests.dpctl import node as cast

PINS = Path("/sys/fs/bpf/sluiceway")
WEB = Selector((Requirement("app", Operator.IN, frozenset({"web"})),))


def test_what_was_told_is_read(tmp_path: Path) -> None:
    wanted = cast.compiled()
    PolicyReporter(tmp_path, PINS, lambda: 1000.0).report(wanted)
    found = read(tmp_path)
    assert found is not None
    assert (found.pin_root, found.at_s, found.node) == (str(PINS), 1000.0, cast.HERE)
    assert found.policies["NetworkPolicy shop/web"].subject == "pods app=web of namespace shop"
    assert found.pods["shop/web"].addresses == ("10.1.0.1", "fd00::1")
    assert (found.pods["shop/web"].slot, found.pods["shop/web"].endpoint_id) == (1, 41)
    assert found.pods["shop/far"].addresses == ("10.2.0.9",)
    assert set(found.nodes) == {cast.HERE, cast.THERE}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_sets_and_classes_are_by_the_digests_that_the_maps_have(tmp_path: Path) -> None:
    wanted = cast.compiled()
    PolicyReporter(tmp_path, PINS).report(wanted)
    found = read(tmp_path)
    assert found is not None
    assert {bytes.fromhex(one) for one in found.sets} == wanted.policies.ids.sets.known.keys()
    assert {bytes.fromhex(one) for one in found.classes} == wanted.policies.ids.classes.known.keys()
    (ours,) = (one for one in found.sets.values() if "NetworkPolicy shop/web" in one.policies)
    assert [(port.name, port.low) for port in ours.ports] == [("http", 8080)]
    assert all(at < len(found.atoms) for indices in found.classes.values() for at in indices)


def test_it_is_written_when_something_is_new_and_not_too_often(tmp_path: Path) -> None:
    now = [1000.0]
    reporter = PolicyReporter(tmp_path, PINS, lambda: now[0])
    first = cast.compiled()
    reporter.report(first)
    there = replace(cast.ELSEWHERE, ips=(ip_address("10.2.0.10"),))
    later = cast.compiled(replace(cast.cluster(), peers={there.name: there}), first)
    now[0] = 1000.5
    reporter.report(later)
    assert at(tmp_path) == 1000.0, "half a second is too soon"
    now[0] = 1001.0
    reporter.report(later)
    assert at(tmp_path) == 1001.0
    now[0] = 1010.0
    reporter.report(later)
    assert at(tmp_path) == 1001.0, "nothing is new"
    reporter.report(first)
    now[0] = 1010.1
    reporter.report(later, now=True)
    assert at(tmp_path) == 1010.1, "the last word does not wait"


def test_what_takes_long_to_make_is_made_seldom(tmp_path: Path) -> None:
    clock = iter([1000.0, 1000.1, 1004.0, 1005.1, 1005.2])
    reporter = PolicyReporter(tmp_path, PINS, lambda: next(clock))
    first = cast.compiled()
    reporter.report(first)
    later = cast.compiled(replace(cast.cluster(), peers={}), first)
    reporter.report(later)
    assert at(tmp_path) == 1000.0, "a tenth of a second is to be one part of fifty"
    reporter.report(later)
    assert at(tmp_path) == 1005.1


def test_before_the_first_sync_an_earlier_agents_names_stay(tmp_path: Path) -> None:
    PolicyReporter(tmp_path, PINS).report(cast.compiled())
    known = read(tmp_path)
    PolicyReporter(tmp_path, PINS).report(Desired(), now=True)
    assert read(tmp_path) == known


def test_an_ending_pod_says_so(tmp_path: Path) -> None:
    ending = replace(cast.ELSEWHERE, is_ending=True)
    PolicyReporter(tmp_path, PINS).report(cast.compiled(replace(cast.cluster(), peers={ending.name: ending})))
    found = read(tmp_path)
    assert found is not None
    assert found.pods["shop/far"].is_ending


def test_a_report_of_another_build_says_what_both_know(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"pin_root": "/p", "new": 1, "policies": {"a": {"subject": "s", "more": []}}}')
    found = read(tmp_path)
    assert found is not None
    assert found.policies["a"].subject == "s"
    (tmp_path / FILE).write_bytes(b"[]")
    assert read(tmp_path) is None
    report_file.remove(tmp_path, [FILE])
    assert not [*tmp_path.iterdir()]
    assert read(tmp_path / "nowhere") is None


def test_a_folder_that_takes_no_file_is_said_once(tmp_path: Path, written: pytest.LogCaptureFixture) -> None:
    reporter = PolicyReporter(tmp_path / "nowhere", PINS)
    with written.at_level(logging.WARNING):
        for peers in ({}, {cast.ELSEWHERE.name: cast.ELSEWHERE}, {}):
            reporter.report(cast.compiled(replace(cast.cluster(), peers=peers)), now=True)
    assert len([r for r in written.records if "names cannot be written" in r.getMessage()]) == 1


def test_what_could_not_be_written_is_tried_again_though_nothing_is_new(tmp_path: Path) -> None:
    now = [1000.0]
    run_dir = tmp_path / "late"
    reporter = PolicyReporter(run_dir, PINS, lambda: now[0])
    wanted = cast.compiled()
    reporter.report(wanted)
    run_dir.mkdir()
    now[0] = 1000.5
    reporter.report(wanted)
    assert read(run_dir) is None, "half a second is too soon"
    for now[0] in (1001.0, 1002.0):
        reporter.report(wanted)
    assert at(run_dir) == 1001.0, "once is enough"


@pytest.mark.parametrize(
    ("meaning", "words"),
    [
        pytest.param(PodPeer(WEB, namespace="shop"), "pods app=web of namespace shop", id="pods of one namespace"),
        pytest.param(PodPeer(WEB), "pods app=web of all namespaces", id="pods of all namespaces"),
        pytest.param(PodPeer(namespaces=WEB), "all pods of namespaces app=web", id="all pods of some namespaces"),
        pytest.param(CidrPeer(parse_network("10.0.0.0/8")), "10.0.0.0/8", id="a range"),
        pytest.param(
            CidrPeer(parse_network("10.0.0.0/8"), (parse_network("10.1.0.0/16"),)),
            "10.0.0.0/8 except 10.1.0.0/16",
            id="a range with an exception",
        ),
        pytest.param(NodePeer(), "all nodes", id="nodes"),
        pytest.param(NodePeer(WEB), "nodes app=web", id="some nodes"),
        pytest.param(
            PortPeer(ContainerPort("http", Protocol.TCP, 80)), "pods whose port 'http' is TCP 80", id="a named port"
        ),
    ],
)
def test_a_peer_is_told_in_words(meaning: Meaning, words: str) -> None:
    assert meaning_words(meaning) == words


def test_a_selector_is_written_as_kubectl_does() -> None:
    two = frozenset({"a", "b"})
    requirements = (
        Requirement("k", Operator.IN, two),
        Requirement("l", Operator.NOT_IN, two),
        Requirement("m", Operator.NOT_IN, frozenset({"a"})),
        Requirement("n", Operator.EXISTS),
        Requirement("o", Operator.DOES_NOT_EXIST),
    )
    assert selector_words(Selector(requirements)) == "k in (a,b),l notin (a,b),m!=a,n,!o"


def at(run_dir: Path) -> float:
    return (read(run_dir) or PolicyReport()).at_s


def test_a_node_has_the_addresses_that_its_devices_have(tmp_path: Path) -> None:
    wanted = cast.compiled()
    own: frozenset[Address] = frozenset({ip_address("192.0.2.1"), ip_address("169.254.1.1")})
    PolicyReporter(tmp_path, PINS).report(replace(wanted, context=replace(wanted.context, addresses=own)))
    found = read(tmp_path)
    assert found is not None
    assert found.nodes[cast.HERE] == ("169.254.1.1", "192.0.2.1", "2001:db8::1")
