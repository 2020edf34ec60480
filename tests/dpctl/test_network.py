"""Definitions in files, looked at without a node; and pods' further interfaces out of the agent's records."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.model.name import ObjectName
from agent.model.network import DEFINITION, RESOURCE_NAME
from agent.pods.network_record import FOLDER, InterfaceRecord, NetworkRecords, NetworkSet, PluginRecord, Step
from dpctl.app import app
from dpctl.network import lint_rows

VETH = {"cniVersion": "1.0.0", "type": "sluiceway-cni", "kind": "veth"}
BARE = {"cniVersion": "1.0.0", "type": "sluiceway-cni"}
MOVED = {"cniVersion": "1.0.0", "type": "sluiceway-cni", "kind": "host-device"}
ROUTED = {"type": "macvlan", "ipam": {"type": "host-local", "routes": [{"dst": "10.8.0.0/16", "gw": "lan"}]}}
RESOURCE = {"annotations": {RESOURCE_NAME: "example.com/nic"}}
LAN = {"cniVersion": "1.0.0", "plugins": [{"type": "macvlan", "capabilities": {"ips": True}}, {"type": "tuning"}]}


def definition(config: Any, **about: Any) -> str:
    metadata = {"name": "lan", "namespace": "default", **about}
    return json.dumps({"kind": DEFINITION, "metadata": metadata, "spec": {"config": config}})


@pytest.mark.parametrize(
    ("text", "field", "says", "is_wrong"),
    [
        pytest.param(definition(json.dumps(LAN)), "", "CNI 1.0.0: macvlan, then tuning, told of ips", False, id="good"),
        pytest.param(json.dumps(LAN), "", "CNI 1.0.0: macvlan, then tuning", False, id="a bare configuration"),
        pytest.param(definition(json.dumps(VETH)), "", "CNI 1.0.0: sluiceway-cni veth", False, id="of our own"),
        pytest.param(json.dumps({"items": [json.loads(definition("{}"))]}), "spec.config.type", "", True, id="a list"),
        pytest.param(definition(json.dumps(BARE)), "spec.config.kind", "without a kind", True, id="no kind"),
        pytest.param(definition(json.dumps(BARE), namespace="kube-system"), "", "sluiceway-cni", False, id="a first"),
        pytest.param(definition(""), "spec.config", "is in a file of the node named lan", False, id="none"),
        pytest.param(definition(LAN), "spec.config", "is no string", True, id="an object in place of a text"),
        pytest.param(definition("{"), "spec.config", "is no JSON", True, id="no JSON"),
        pytest.param('{"type": ""}', "type", "is missing", True, id="a bare configuration without a type"),
        pytest.param(
            definition(json.dumps(ROUTED)), "spec.config.ipam.routes[0].gw", "'lan'", True, id="a route amiss"
        ),
        pytest.param(definition(json.dumps(MOVED)), "spec.config.device", "is missing", True, id="no device is said"),
        pytest.param(definition(json.dumps(MOVED), **RESOURCE), "", "host-device", False, id="one of a resource"),
        pytest.param(json.dumps({"cniVersion": "1.0.0", "plugins": [MOVED]}), "", "host-device", False, id="a file's"),
        pytest.param("kind: Pod", "", f"there is no {DEFINITION} in it", True, id="another kind"),
        pytest.param(
            '{"kind": "NetworkAttachmentDefinition", "metadata": [1]}', "metadata.name", "", True, id="no name"
        ),
        pytest.param('{"items": 5}', "", f"there is no {DEFINITION} in it", True, id="a number for a list"),
        pytest.param("a: [", "", "expected node content", True, id="no YAML"),
        pytest.param("a: 2020-99-99", "", "month must be in 1..12", True, id="no such day"),
    ],
)
def test_a_definition_is_looked_at(text: str, field: str, says: str, *, is_wrong: bool) -> None:
    (row,) = lint_rows("lan.yaml", text)
    assert (row.field, says in row.text, row.is_wrong) == (field, True, is_wrong), row


def test_lint_says_by_its_exit_code_whether_all_can_be_used(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(definition(json.dumps(LAN)))
    bad.write_text(definition("{}"))
    (other := tmp_path / "other.yaml").write_bytes(b"\xff\xfe")  # as some editors write it
    for files, code in (([good], 0), ([good, bad], 1), ([other], 1)):
        done = CliRunner().invoke(app, ["network", "lint", *map(str, files), "-o", "json"])
        assert (done.exit_code, len(json.loads(done.stdout))) == (code, len(files))


def test_list_shows_what_the_records_have(tmp_path: Path) -> None:
    plugins = (PluginRecord("macvlan", (), "{}"), PluginRecord("tuning", (), "{}"))
    result = json.dumps({"ips": [{"address": "10.50.0.2/24"}]})
    name = ObjectName("default", "lan")
    made = InterfaceRecord(name, "data0", "lan", "1.0.0", plugins, device="0000:03:02.0", step=Step.MADE, result=result)
    begun = InterfaceRecord(name, "net2", "lan", "1.0.0", plugins, step=Step.BEGUN)
    NetworkRecords(tmp_path / FOLDER).put(
        NetworkSet("c1", "eth0", "/n", "sluiceway", "b", (made, begun), pod=ObjectName("default", "web-0"))
    )
    done = CliRunner().invoke(app, ["network", "list", "--state-dir", str(tmp_path), "-o", "json"])
    rows = json.loads(done.stdout)
    assert [(row["pod"], row["interface"], row["addresses"], row["device"], row["state"]) for row in rows] == [
        ("default/web-0", "data0", ["10.50.0.2"], "0000:03:02.0", "made"),
        ("default/web-0", "net2", [], "", "begun"),
    ]
