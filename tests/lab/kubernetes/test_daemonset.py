"""The shipped manifest is what the lab applies, with a lab's values in it."""

from typing import Any

import yaml

from lab.kubernetes import daemonset
from lab.kubernetes.addresses import server
from lab.site import Options, Site

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


def test_the_agent_is_not_privileged_and_has_a_read_only_root() -> None:
    pod = _pod(daemonset.MANIFEST.read_text())
    [agent] = pod["containers"]
    context = agent["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]}
    assert (context["privileged"], context["readOnlyRootFilesystem"]) == (False, True)
    assert all(mount.get("mountPropagation") != "Bidirectional" for mount in agent["volumeMounts"])
