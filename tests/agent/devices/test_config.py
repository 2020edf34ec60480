"""The SR-IOV network device plugin's configuration, read; and what is wrong with one."""

import json
from typing import Any

import pytest

from agent.devices.config import DeviceType, Resource, parse
from agent.devices.selector import DeviceSet, Selector

PREFIX = "intel.com"
README = {
    "resourceList": [
        {
            "resourceName": "intel_sriov_netdevice",
            "selectors": {"vendors": ["8086"], "devices": ["154c", "10ed"], "drivers": ["i40evf", "iavf", "ixgbevf"]},
        },
        {
            "resourceName": "intel_sriov_dpdk",
            "resourcePrefix": "example.com",
            "selectors": [{"vendors": ["8086"], "drivers": ["vfio-pci"], "pfNames": ["enp0s0f0#0-2,5", "enp2s2f1"]}],
            "additionalInfo": {"*": {"token": "3e49019f"}},
            "excludeTopology": True,
        },
        {
            "resourceName": "accelerators",
            "deviceType": "accelerator",
            "selectors": [{"devices": ["0d90"], "acpiIndexes": ["101"]}, {"pciAddresses": ["0000:03:02.0"]}],
        },
        {
            "resourceName": "subfunctions",
            "deviceType": "auxNetDevice",
            "selectors": [{"rootDevices": ["0000:02:00.0#1-3"], "auxTypes": ["sf"], "linkTypes": ["ether"]}],
        },
        {"resourceName": "vhost", "selectors": [{"needVhostNet": True, "isRdma": False, "vdpaType": ""}]},
        {"resourceName": "slots", "resourcePrefix": "sluiceway.io", "deviceType": "afxdp", "count": 16},
    ]
}


def test_every_form_of_the_other_plugin_is_read() -> None:
    resources, problems = parse(json.dumps(README).encode(), PREFIX)
    assert not problems
    assert resources == (
        Resource(
            "intel.com/intel_sriov_netdevice",
            DeviceType.NET,
            (
                Selector(
                    vendors=frozenset({"8086"}),
                    devices=frozenset({"154c", "10ed"}),
                    drivers=frozenset({"i40evf", "iavf", "ixgbevf"}),
                ),
            ),
        ),
        Resource(
            "example.com/intel_sriov_dpdk",
            DeviceType.NET,
            (
                Selector(
                    vendors=frozenset({"8086"}),
                    drivers=frozenset({"vfio-pci"}),
                    pf_names=(DeviceSet("enp0s0f0", (range(3), range(5, 6))), DeviceSet("enp2s2f1")),
                ),
            ),
            has_topology=False,
            info={"*": {"token": "3e49019f"}},
        ),
        Resource(
            "intel.com/accelerators",
            DeviceType.ACCELERATOR,
            (
                Selector(devices=frozenset({"0d90"}), acpi_indexes=frozenset({"101"})),
                Selector(pci_addresses=frozenset({"0000:03:02.0"})),
            ),
        ),
        Resource(
            "intel.com/subfunctions",
            DeviceType.AUXILIARY,
            (
                Selector(
                    root_devices=(DeviceSet("0000:02:00.0", (range(1, 4),)),),
                    aux_types=frozenset({"sf"}),
                    link_types=frozenset({"ether"}),
                ),
            ),
        ),
        Resource("intel.com/vhost", DeviceType.NET, (Selector(needs_vhost_net=True),)),
        Resource("sluiceway.io/slots", DeviceType.AFXDP, slots=16),
    )


def _with(**given: Any) -> dict[str, Any]:
    return {"resourceName": "one", **given}


def _selecting(**given: Any) -> dict[str, Any]:
    return _with(selectors=[given])


@pytest.mark.parametrize(
    ("resource", "field", "text"),
    [
        pytest.param(_with(selector={}), "", "unknown field `selector`", id="a key that nobody knows"),
        pytest.param({"selectors": {}}, "", "missing required field `resourceName`", id="no name"),
        pytest.param(_with(resourceName="a/b"), "resourceName", "'a/b' is no name", id="a name with a slash"),
        pytest.param(_with(resourceName="a" * 64), "resourceName", "63 characters", id="a name that is too long"),
        pytest.param(_with(resourcePrefix="Intel"), "resourcePrefix", "a DNS name", id="a prefix in capitals"),
        pytest.param(
            _with(resourcePrefix="x.kubernetes.io"), "resourcePrefix", "cannot be one", id="Kubernetes' own prefix"
        ),
        pytest.param(_with(deviceType="gpu"), "deviceType", "Invalid enum value 'gpu'", id="a type that is none"),
        pytest.param(_with(selectors="all"), "selectors", "Expected `object`", id="selectors that are a text"),
        pytest.param(_selecting(vendor=["8086"]), "selectors[0]", "unknown field `vendor`", id="a selector misspelt"),
        pytest.param(
            _selecting(vendors="8086"), "selectors[0].vendors", "Expected `array`", id="a text in place of a list"
        ),
        pytest.param(_selecting(vendors=["0x8086"]), "selectors[0].vendors", "write it as 8086", id="a vendor with 0x"),
        pytest.param(
            _selecting(pciAddresses=["03:02.0"]), "selectors[0].pciAddresses", "0000:03:02.0", id="no PCI domain"
        ),
        pytest.param(
            _selecting(pfNames=["eth0#3-1"]), "selectors[0].pfNames", "lower one first", id="a range upside down"
        ),
        pytest.param(_selecting(pfNames=["eth0#"]), "selectors[0].pfNames", "eth0#0-3,5", id="a range without numbers"),
        pytest.param(
            _selecting(pfNames=["eth0#a"]), "selectors[0].pfNames", "'a' in 'eth0#a'", id="a range of letters"
        ),
        pytest.param(
            _selecting(rootDevices=["eth0#1"]), "selectors[0].rootDevices", "0000:03:00.0#0-3", id="a PF's name as root"
        ),
        pytest.param(_selecting(linkTypes=["eth"]), "selectors[0].linkTypes", "ether or infiniband", id="no link type"),
        pytest.param(_selecting(isRdma=True), "selectors[0].isRdma", "RDMA devices are not handed out", id="RDMA"),
        pytest.param(_selecting(vdpaType="vhost"), "selectors[0].vdpaType", "vDPA devices are not", id="vDPA"),
        pytest.param(_selecting(ddpProfiles=["GTP"]), "selectors[0].ddpProfiles", "profiles", id="a parser's profile"),
        pytest.param(_selecting(pKeys=["0x1"]), "selectors[0].pKeys", "partitions", id="an InfiniBand partition"),
        pytest.param(
            _selecting(auxTypes=["sf"]), "selectors[0].auxTypes", "netDevice has no such", id="another type's"
        ),
        pytest.param(_with(count=3), "count", "counted by its selectors", id="a number of PCI functions"),
        pytest.param(_with(deviceType="afxdp"), "count", "a number of slots", id="afxdp without one"),
        pytest.param(_with(deviceType="afxdp", count=5000), "count", "out of range", id="too many slots"),
        pytest.param(
            _with(deviceType="afxdp", selectors={"pfNames": ["eth1"]}), "selectors", "is a veth", id="afxdp by devices"
        ),
    ],
)
def test_what_is_wrong_costs_one_resource_and_is_told_by_its_field(
    resource: dict[str, Any], field: str, text: str
) -> None:
    good = {"resourceName": "good"}
    resources, problems = parse(json.dumps({"resourceList": [resource, good]}).encode(), PREFIX)
    assert [one.name for one in resources] == ["intel.com/good"]
    [problem] = problems
    assert problem.name.name == resource.get("resourceName", "resourceList[0]")
    assert problem.field == f"resourceList[0].{field}".rstrip(".")
    assert text in problem.text


def test_two_resources_of_one_name_are_the_first() -> None:
    resources, [problem] = parse(json.dumps({"resourceList": [_with(), _with()]}).encode(), PREFIX)
    assert [one.name for one in resources] == ["intel.com/one"]
    assert "there already" in problem.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", "truncated", id="an empty file"),
        pytest.param(b"{", "truncated", id="half a file"),
        pytest.param(b"[]", "Expected `object`", id="a list"),
        pytest.param(b"{}", "missing required field `resourceList`", id="nothing in it"),
        pytest.param(b'{"resourceList": [], "x": 1}', "unknown field `x`", id="a key that nobody knows"),
        pytest.param(b"\xff", "malformed", id="no text"),
    ],
)
def test_a_file_that_is_none_is_a_problem_of_its_own(content: bytes, text: str) -> None:
    resources, [problem] = parse(content, PREFIX)
    assert not resources
    assert (problem.kind, problem.name.name) == ("DeviceResource", "config")
    assert text in problem.text
