"""What is read of the files that libcni keeps."""

import json
from ipaddress import ip_address
from pathlib import Path

from agent.model.name import ObjectName
from agent.pods.libcni import kept_attachments

RESULT = {
    "cniVersion": "0.4.0",
    "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"version": "4", "address": "10.1.0.7/24", "interface": 2}],
}
ARGS = [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web"], ["K8S_POD_UID", "u1"]]
KEPT = {"kind": "cniCacheV1", "containerId": "c1", "config": "e30=", "ifName": "eth0", "networkName": "cbr0"}


def write(folder: Path, name: str, content: object) -> None:
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_pods_attachment_is_told_whole(tmp_path: Path) -> None:
    write(tmp_path, "cbr0-c1-eth0", KEPT | {"cniArgs": ARGS, "result": RESULT})
    (kept,) = kept_attachments(tmp_path)
    assert (kept.network, kept.container_id, kept.interface) == ("cbr0", "c1", "eth0")
    assert (kept.pod, kept.pod_uid) == (ObjectName("shop", "web"), "u1")
    assert (kept.made.netns, kept.made.addresses) == ("/run/netns/x", (ip_address("10.1.0.7"),))
    assert kept.made.node_devices == {"cni0", "veth1"}


def test_what_says_nothing_of_a_pod_is_passed_over(tmp_path: Path) -> None:
    assert list(kept_attachments(tmp_path)) == []
    write(tmp_path, "lo", KEPT | {"ifName": "lo", "result": {"interfaces": [{"name": "lo", "sandbox": "/x"}]}})
    write(tmp_path, "old", RESULT)
    write(tmp_path, "cut", '{"kind": "cniCac')
    write(tmp_path, "nobody", KEPT | {"cniArgs": None, "result": RESULT})
    assert list(kept_attachments(tmp_path)) == []
