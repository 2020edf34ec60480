"""What policies say, on real pinned maps that the agent's own compile filled, with no agent in sight."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.model.address import mapped
from agent.serve.policy_report import FILE, PolicyReporter
from maps import abi
from maps.pins import Generation, PinRoot, generation_name
from maps.registry import open_table
from tests.dpctl import node as cast

pytestmark = pytest.mark.kernel

Dpctl = Callable[..., subprocess.CompletedProcess[str]]
Pin = Callable[[PinRoot, str], Generation]


class Policed(NamedTuple):
    """A node with policies: its pins, and where its agent left names."""

    root: Path
    run_dir: Path
    generation: Generation


@pytest.fixture(scope="module")
def policed(bpffs_of: Callable[[], Path], pin_generation: Pin, tmp_path_factory: pytest.TempPathFactory) -> Policed:
    root = PinRoot(bpffs_of() / "sluiceway")
    root.path.mkdir()
    generation = pin_generation(root, generation_name(abi.LAYOUT, {}))
    root.make_current(generation)
    wanted = cast.compiled()
    cast.write(wanted, generation)
    run_dir = tmp_path_factory.mktemp("run")
    PolicyReporter(run_dir, root.path).report(wanted)
    return Policed(root.path, run_dir, generation)


@pytest.fixture
def ask(policed: Policed, dpctl_on: Dpctl) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``dpctl policy`` with the agent's names."""
    return lambda *words: dpctl_on(policed.root, "policy", *words, "--run-dir", str(policed.run_dir))


@pytest.fixture
def ask_nameless(policed: Policed, dpctl_on: Dpctl, tmp_path: Path) -> Dpctl:
    """``dpctl policy`` where the agent left nothing."""
    return lambda *words: dpctl_on(policed.root, "policy", *words, "--run-dir", str(tmp_path))


@pytest.fixture
def counted(policed: Policed) -> Iterator[None]:
    """What the programs counted of one policy."""
    with_counters = open_table(abi.POLICY_COUNTERS, policed.generation.maps)
    policies = open_table(abi.POLICIES, policed.generation.maps)
    number = next(number for number, one in policies.items() if one.label == "NetworkPolicy shop/web")
    with_counters.update([(number * abi.Direction.DIRECTIONS, abi.PolicyCounter(7, 5, 3))])
    yield
    policies.close()
    with_counters.close()


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.stderr == ""
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("counted")
def test_a_policy_is_listed_with_its_pods_and_counters(ask: Dpctl) -> None:
    assert lines(ask("list"))[1:] == [
        "ClusterNetworkPolicy bastion ingress pods app=web of all namespaces shop/web 0 0 0",
        "NetworkPolicy quiet/db ingress pods app=db of namespace quiet quiet/db 0 0 0",
        "NetworkPolicy shop/client egress pods app=client of namespace shop shop/client 0 0 0",
        "NetworkPolicy shop/web ingress pods app=web of namespace shop shop/web 7 5 3",
    ]


def test_without_names_a_policys_pods_are_addresses(ask_nameless: Dpctl) -> None:
    found = lines(ask_nameless("list"))
    assert any(line.startswith("NetworkPolicy shop/web ingress - 10.1.0.1") for line in found), found


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(
            "shop/web",
            [
                "in accepted everything from its own node and from itself always so",
                "denied everything from all pods of namespaces team=b ClusterNetworkPolicy bastion ingress[0] 'no-b'",
                "in passed on everything from nodes edge=yes ClusterNetworkPolicy bastion ingress[1]",
                "in accepted TCP 80-90 from pods app=client of namespace shop NetworkPolicy shop/web ingress[0]",
                "TCP port 'http' (TCP 8080) from 10.0.0.0/8 except 10.9.0.0/16 NetworkPolicy shop/web ingress[1]",
                "in accepted UDP 1000, UDP 1002, UDP 1004, UDP 1006",
                "in denied everything else NetworkPolicy shop/web",
                "out accepted everything: no policy selects the pod -",
            ],
            id="rules in the order in which they are asked, then the rest",
        ),
        pytest.param("quiet/bare", ["accepted everything: no policy selects the pod"], id="no policy selects it"),
        pytest.param("shop/new", ["in denied everything: the pod's rules are not here yet"], id="nothing is known yet"),
        pytest.param("10.1.0.4", ["in denied everything: the pod's rules are not here yet"], id="by its address"),
        pytest.param(
            "quiet/db",
            ["in audited what is denied passes, and is counted: sluiceway.io/policy-mode: audit the pod's Namespace"],
            id="an audited one",
        ),
        pytest.param(
            "shop/client",
            ["out accepted UDP port 'dns' to all pods of namespace shop NetworkPolicy shop/client egress[0]"],
            id="a named port is each peer's own",
        ),
    ],
)
def test_what_may_come_in_and_go_out_is_told_in_words(ask: Dpctl, pod: str, expected: list[str]) -> None:
    found = lines(ask("show", pod))
    for line in expected:
        assert any(line in one for one in found), (line, found)


def test_without_names_a_pods_rules_are_told_by_class(ask_nameless: Dpctl) -> None:
    found = lines(ask_nameless("show", "10.1.0.1"))
    assert any("TCP 80-90 from class" in line and line.endswith("NetworkPolicy shop/web") for line in found), found
    assert any(line.startswith("in accepted UDP 1016 from everybody else NetworkPolicy shop/web") for line in found)
    assert ask_nameless("show", "shop/web").returncode == 1


WHY = [
    pytest.param("shop/client", "shop/web", "80", (), 1, "denied egress IPv4 shop/client shop/web TCP 80", id="egress"),
    pytest.param(
        "shop/client",
        "shop/web",
        "80",
        (),
        1,
        "accepted ingress IPv4 shop/web shop/client TCP 80 NetworkPolicy shop/web ingress[0]: TCP 80-90 from pods",
        id="each direction is told, with its rule",
    ),
    pytest.param("shop/far", "shop/web", "85", (), 0, "NetworkPolicy shop/web ingress[0]", id="another node's pod"),
    pytest.param("10.8.0.1", "shop/web", "8080", (), 0, "ingress[1]: TCP port 'http'", id="by range, a named port"),
    pytest.param(
        "10.9.0.1", "shop/web", "8080", (), 1, "no rule of NetworkPolicy shop/web accepts this", id="an except"
    ),
    pytest.param("world", "shop/web", "1008", ("--protocol", "udp"), 0, "ingress[2]", id="a list of ports, the world"),
    pytest.param("world", "shop/web", "80", (), 1, "but for 2 ranges that rules name", id="the world has exceptions"),
    pytest.param("quiet/bare", "shop/web", "80", (), 1, "ClusterNetworkPolicy bastion ingress[0] 'no-b'", id="a Deny"),
    pytest.param("n1", "shop/web", "99", (), 0, "a pod's own node always reaches it", id="its own node"),
    pytest.param("n2", "shop/web", "99", (), 1, "no rule of NetworkPolicy shop/web accepts this", id="another node"),
    pytest.param("shop/web", "shop/web", "99", (), 0, "a pod always reaches itself", id="itself"),
    pytest.param("shop/new", "world", "99", (), 1, "its rules are not here yet", id="nothing is known yet"),
    pytest.param("world", "quiet/db", "99", (), 0, "audited ingress IPv4 quiet/db world", id="audited passes"),
    pytest.param("quiet/bare", "world", "99", (), 0, "no policy selects it", id="nothing selects it"),
    pytest.param("shop/client", "shop/web", "53", ("--protocol", "udp"), 1, "egress[0]: UDP port 'dns'", id="resolved"),
    pytest.param(
        "::ffff:10.8.0.1", "shop/web", "8080", (), 0, "ingress IPv4 shop/web ::ffff:10.8.0.1", id="IPv4 mapped"
    ),
    pytest.param("10.8.0.1", "10.1.0.1", None, ("--protocol", "icmp"), 1, "shop/web) 10.8.0.1 ICMP", id="no ports"),
]


@pytest.mark.parametrize(("client", "server", "port", "options", "code", "text"), WHY)
def test_why_says_what_decides(
    ask: Dpctl, client: str, server: str, port: str | None, options: tuple[str, ...], code: int, text: str
) -> None:
    done = ask("why", client, server, *((port,) if port else ()), *options)
    assert text in "\n".join(lines(done)), done.stdout
    assert done.returncode == code


def test_without_names_the_verdict_is_the_same(ask_nameless: Dpctl) -> None:
    assert ask_nameless("why", "10.2.0.9", "10.1.0.1", "85").returncode == 0
    denied = ask_nameless("why", "10.2.0.9", "10.1.0.1", "99")
    assert denied.returncode == 1
    assert "NetworkPolicy shop/web" in denied.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        pytest.param(("why", "a/b", "shop/web", "1"), 4, "no pod or node that is known here", id="an unknown pod"),
        pytest.param(("why", "10.2.0.9", "world", "1"), 4, "ask on the nodes of the pods", id="nobody is here"),
        pytest.param(("why", "192.0.2.2", "fd00::1", "1"), 4, "no address of one family", id="two families"),
        pytest.param(("why", "shop/web", "world"), 2, "PORT is missing", id="no port"),
        pytest.param(("show", "shop/far"), 1, "no pod of this node's", id="rules of another node's pod"),
        pytest.param(("show", "10.2.0.9"), 1, "dpctl endpoint list", id="an address of nobody here"),
    ],
)
def test_what_cannot_be_answered_has_a_code_of_its_own(
    ask: Dpctl, words: tuple[str, ...], code: int, text: str
) -> None:
    done = ask(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


@pytest.fixture
def service_at(policed: Policed) -> Iterator[Callable[[str], None]]:
    """Gives a service an address."""
    with closing(open_table(abi.SERVICE_ADDRS, policed.generation.maps)) as addresses:
        keys = []

        def serve(text: str) -> None:
            keys.append(abi.ServiceAddrKey(mapped(ip_address(text)), abi.Scope.SCOPE_EXTERNAL))
            addresses.update([(keys[-1], 1)])

        yield serve
        addresses.delete(keys)


def test_a_services_address_is_not_asked_about_but_where_a_node_or_pod_has_it(
    ask: Dpctl, service_at: Callable[[str], None]
) -> None:
    for address in ("203.0.113.9", "192.0.2.2", "10.1.0.1"):
        service_at(address)
    refused = ask("why", "shop/client", "203.0.113.9", "80")
    assert (refused.returncode, "ask for one of its backends" in refused.stderr) == (4, True)
    assert ask("why", "n2", "shop/web", "99").returncode == 1
    assert ask("why", "n2", "10.1.0.1", "1008", "--protocol", "udp").returncode == 0


def test_a_pod_whose_address_is_anothers_by_now_is_not_answered_for(policed: Policed, ask: Dpctl) -> None:
    with closing(open_table(abi.ATTACHMENTS, policed.generation.maps)) as attachments:
        known = attachments.get(cast.WEB.slot)
        assert known
        attachments.update([(cast.WEB.slot, replace(known, endpoint_id=999))])
        done = ask("why", "10.8.0.1", "shop/web", "8080")
        attachments.update([(cast.WEB.slot, known)])
    assert (done.returncode, "names are of another moment" in done.stderr) == (4, True)
    assert ask("why", "10.8.0.1", "shop/web", "8080").returncode == 0


def test_another_agents_names_are_none_of_ours(policed: Policed, dpctl_on: Dpctl, tmp_path: Path) -> None:
    PolicyReporter(tmp_path, Path("/other")).report(cast.compiled())
    assert (tmp_path / FILE).exists()
    done = dpctl_on(policed.root, "policy", "show", "shop/web", "--run-dir", str(tmp_path))
    assert (done.returncode, "has left no names" in done.stderr) == (1, True)


def test_rows_are_json_too(policed: Policed, dpctl_on: Dpctl) -> None:
    words = ("policy", "why", "n1", "shop/web", "99", "--run-dir", str(policed.run_dir), "-o", "json")
    rows: list[dict[str, Any]] = json.loads(dpctl_on(policed.root, *words).stdout)
    assert [(row["verdict"], row["direction"], row["family"]) for row in rows] == [
        ("elsewhere", "egress", "IPv4"),
        ("accepted", "ingress", "IPv4"),
        ("elsewhere", "egress", "IPv6"),
        ("accepted", "ingress", "IPv6"),
    ]
