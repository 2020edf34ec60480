"""The shipped manifest is what the lab applies, with a lab's values in it."""

from typing import Any

import yaml

from lab import bird
from lab.kubernetes import daemonset
from lab.kubernetes.addresses import server
from lab.site import Options, Site

ROUTED = daemonset.CHECKOUT / "tests" / "build" / "chart" / "router" / "rendered.yaml"
SITE = Site("x", Options(kubernetes=True, daemonset=True, socket_lb=False, encapsulation="vxlan"))


def _pod(text: str) -> Any:
    [document] = [d for d in yaml.safe_load_all(text) if d["kind"] == "DaemonSet"]
    return document["spec"]["template"]["spec"]


def test_image_address_and_options_are_the_labs_and_all_else_is_shipped() -> None:
    shipped = daemonset.MANIFEST.read_text()
    found, own = _pod(daemonset.manifest(shipped, SITE, "x:1", {"SLUICEWAY_MTU": "1400"})), _pod(shipped)
    told = {each["name"]: each.get("value") for each in found["containers"][0]["env"]}
    assert told["SLUICEWAY_API_SERVER"] == server(SITE)
    assert (told["SLUICEWAY_SOCKET_LB"], told["SLUICEWAY_ENCAPSULATION"]) == ("off", "vxlan")
    assert told["SLUICEWAY_MTU"] == "1400"
    for kind in ("initContainers", "containers"):
        for container, before in zip(found[kind], own[kind], strict=True):
            assert container.pop("image") == "x:1"
            assert before.pop("image").startswith("sluiceway:")
            before.pop("env", None)
            container.pop("env", None)
    assert found == own


def test_with_bgp_bird_has_its_own_image_and_each_node_the_router_of_its_subnet_for_a_peer() -> None:
    site = Site("x", Options(kubernetes=True, daemonset=True, router=True, subnets=2))
    chart = (each for each in yaml.safe_load_all(ROUTED.read_text()) if each and "hook" not in str(each["metadata"]))
    text = daemonset.manifest(yaml.safe_dump_all(chart), site, "x:1", {}, "bird:1")
    agent, speaker = _pod(text)["containers"]
    assert (agent["image"], speaker["image"], "env" in speaker) == ("x:1", "bird:1", False)
    told = {each["name"]: each.get("value") for each in agent["env"]}
    assert told["SLUICEWAY_BGP_IMPORT_CIDRS"] == ",".join(bird.OUTSIDE_RANGES)
    assert told["SLUICEWAY_ADVERTISE_LOADBALANCER_IP"] == "on"
    assert "--router=on" in " ".join(agent["args"])
    specs = [one["spec"] for one in daemonset.peers(site)]
    assert [(spec["nodeSelector"]["matchLabels"]["kubernetes.io/hostname"], spec["address"]) for spec in specs][:4] == [
        ("n1", "10.88.0.1"),
        ("n1", "fd88::1"),
        ("n2", "10.88.1.1"),
        ("n2", "fd88:0:0:1::1"),
    ]


def test_the_agent_is_not_privileged_and_has_a_read_only_root() -> None:
    pod = _pod(daemonset.MANIFEST.read_text())
    [agent] = pod["containers"]
    context = agent["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]}
    assert (context["privileged"], context["readOnlyRootFilesystem"]) == (False, True)
    assert all(mount.get("mountPropagation") != "Bidirectional" for mount in agent["volumeMounts"])
