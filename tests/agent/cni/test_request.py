"""What a runtime sends becomes a request, or the specification's error code with a text that names the field."""

import json
from collections.abc import Mapping

import pytest

from agent.cni.error import CniError
from agent.cni.request import parse, requested_version
from agent.model.name import ObjectName

CONFIG = {"cniVersion": "1.1.0", "name": "sluiceway", "type": "sluiceway-cni"}
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/x",
    "CNI_PATH": "/opt/cni/bin",
}


def changed(base: Mapping[str, object], **changes: object) -> dict[str, object]:
    """*base* with changes; None takes a key away."""
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def refusal(environment: Mapping[str, object], stdin: bytes) -> CniError:
    with pytest.raises(CniError) as caught:
        parse({key: str(value) for key, value in environment.items()}, stdin)
    return caught.value


@pytest.mark.parametrize(
    ("stdin", "code", "named"),
    [
        pytest.param(b"", 6, "empty", id="empty stdin"),
        pytest.param(b" \n", 6, "empty", id="blank stdin"),
        pytest.param(b"{", 6, "no JSON", id="broken JSON"),
        pytest.param(b"[" * 100_000, 6, "no JSON", id="JSON nested without end"),
        pytest.param(b'{"name": "\xff"}', 6, "no JSON", id="text that is no UTF-8"),
        pytest.param(b"[]", 6, "object", id="JSON that is no object"),
        pytest.param(json.dumps(changed(CONFIG, cniVersion="9.0.0")).encode(), 1, "9.0.0", id="an unknown version"),
        pytest.param(json.dumps(changed(CONFIG, cniVersion=None)).encode(), 1, "0.1.0", id="no version means 0.1.0"),
        pytest.param(json.dumps(changed(CONFIG, cniVersion=1)).encode(), 1, "cniVersion", id="a version by number"),
        pytest.param(json.dumps(changed(CONFIG, name=None)).encode(), 7, "name", id="no network name"),
        pytest.param(json.dumps(changed(CONFIG, name=3)).encode(), 7, "name", id="a network name by number"),
        pytest.param(json.dumps(changed(CONFIG, name="../x")).encode(), 7, "name", id="a network name with a slash"),
        pytest.param(json.dumps(changed(CONFIG, dns=[])).encode(), 7, "dns", id="dns that is no object"),
        pytest.param(
            json.dumps(changed(CONFIG, prevResult=1)).encode(), 7, "prevResult", id="a previous result by number"
        ),
        pytest.param(
            json.dumps(changed(CONFIG, prevResult={"ips": [1]})).encode(), 7, "prevResult.ips", id="addresses by number"
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(stdin: bytes, code: int, named: str) -> None:
    error = refusal(ENVIRONMENT, stdin)
    assert error.code == code
    assert named in str(error)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"CNI_COMMAND": None}, "CNI_COMMAND", id="no command"),
        pytest.param({"CNI_COMMAND": "FROB"}, "CNI_COMMAND", id="an unknown command"),
        pytest.param({"CNI_CONTAINERID": None}, "CNI_CONTAINERID", id="no container id"),
        pytest.param({"CNI_CONTAINERID": "../etc"}, "CNI_CONTAINERID", id="a container id with a slash"),
        pytest.param({"CNI_IFNAME": None}, "CNI_IFNAME", id="no interface name"),
        pytest.param({"CNI_IFNAME": "a" * 16}, "CNI_IFNAME", id="an interface name of 16 characters"),
        pytest.param({"CNI_IFNAME": "\u00e4" * 8}, "CNI_IFNAME", id="an interface name of 16 octets in 8 characters"),
        pytest.param({"CNI_IFNAME": "eth%d"}, "CNI_IFNAME", id="an interface name that the kernel would number"),
        pytest.param({"CNI_IFNAME": ".."}, "CNI_IFNAME", id="an interface name of dots"),
        pytest.param({"CNI_NETNS": None}, "CNI_NETNS", id="no namespace"),
        pytest.param({"CNI_ARGS": "COLOUR=red"}, "COLOUR", id="an unknown argument"),
        pytest.param({"CNI_ARGS": "K8S_POD_NAME"}, "K8S_POD_NAME", id="an argument without value"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(changes: Mapping[str, object], named: str) -> None:
    error = refusal(changed(ENVIRONMENT, **changes), json.dumps(CONFIG).encode())
    assert error.code == 4
    assert named in str(error)


@pytest.mark.parametrize(("command", "version"), [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")], ids=str)
def test_a_command_younger_than_the_version_is_refused(command: str, version: str) -> None:
    error = refusal(changed(ENVIRONMENT, CNI_COMMAND=command), json.dumps(changed(CONFIG, cniVersion=version)).encode())
    assert error.code == 1


def test_check_without_a_previous_result_and_gc_without_a_list_are_refused() -> None:
    for command, named in (("CHECK", "prevResult"), ("GC", "cni.dev/valid-attachments")):
        error = refusal(changed(ENVIRONMENT, CNI_COMMAND=command), json.dumps(CONFIG).encode())
        assert error.code == 7
        assert named in str(error)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        pytest.param({}, "valid-attachments: {} is no list", id="an object"),
        pytest.param(["c1"], "valid-attachments[0]: 'c1' has no", id="a container's id alone"),
        pytest.param([{"containerID": "c1"}], "has no containerID or no ifname", id="without an interface"),
        pytest.param(
            [{"containerID": "a", "ifname": "eth0"}, {"containerID": 7, "ifname": "eth0"}],
            "valid-attachments[1]",
            id="a number for a container",
        ),
    ],
)
def test_a_list_of_what_is_valid_that_could_be_misread_is_refused(entries: object, named: str) -> None:
    config = {**CONFIG, "cni.dev/valid-attachments": entries}
    error = refusal(changed(ENVIRONMENT, CNI_COMMAND="GC"), json.dumps(config).encode())
    assert (error.code, named in str(error)) == (7, True), str(error)


def test_an_empty_list_of_what_is_valid_may_be_null_as_go_writes_it() -> None:
    config = {**CONFIG, "cni.dev/valid-attachments": None}
    assert parse({**ENVIRONMENT, "CNI_COMMAND": "GC"}, json.dumps(config).encode()).valid == frozenset()


def test_del_needs_no_namespace() -> None:
    environment = {**ENVIRONMENT, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}
    assert parse(environment, json.dumps(CONFIG).encode()).netns == ""


def test_gc_and_status_need_no_container() -> None:
    empty = {"CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": ""}
    config = {**CONFIG, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
    gc = parse({**ENVIRONMENT, **empty, "CNI_COMMAND": "GC"}, json.dumps(config).encode())
    assert gc.valid == frozenset({("a", "eth0")})
    parse({**ENVIRONMENT, **empty, "CNI_COMMAND": "STATUS"}, json.dumps(CONFIG).encode())


def test_the_pod_is_known_by_its_arguments_in_any_order() -> None:
    args = "K8S_POD_NAME=web;COLOUR=red;K8S_POD_NAMESPACE=shop;IgnoreUnknown=1"
    request = parse({**ENVIRONMENT, "CNI_ARGS": args}, json.dumps(CONFIG).encode())
    assert request.pod == ObjectName("shop", "web")


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        pytest.param(b'{"cniVersion":"0.4.0"}', "0.4.0", id="one of ours"),
        pytest.param(b'{"cniVersion":"9.0.0"}', "1.0.0", id="one that is not"),
        pytest.param(b"", "1.0.0", id="empty stdin"),
        pytest.param(b"[]", "1.0.0", id="JSON that is no object"),
        pytest.param(b"[" * 100_000, "1.0.0", id="JSON nested without end"),
        pytest.param(b'{"cniVersion":"\xff"}', "1.0.0", id="text that is no UTF-8"),
    ],
)
def test_an_error_is_given_in_the_version_asked_for(stdin: bytes, version: str) -> None:
    assert requested_version(stdin) == version
