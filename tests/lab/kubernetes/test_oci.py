"""An archive of images holds what a runtime looks for."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.kubernetes import oci


@pytest.fixture
def blobs(tmp_path: Path) -> dict[str, bytes]:
    """An archive of two images that share a layer, by the names inside."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    shared = oci.Layer(programs={"bin/program": program}, folders=("tmp",)).write(tmp_path / "shared.tar")
    upper = oci.Layer(files={"etc/motd": b"hello"}, links={"bin/alias": "program"}).write(tmp_path / "upper.tar")
    images = [
        oci.Image("localhost/one:1", (shared,), entrypoint=("/bin/program",)),
        oci.Image("localhost/two:1", (shared, upper), command=("sh",), user="65535"),
    ]
    path = tmp_path / "images.tar"
    oci.write(path, images)
    with tarfile.open(path) as tar:
        return {member.name: content.read() for member in tar if (content := tar.extractfile(member))}


def blob(blobs: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """What a descriptor points at, as large as it says."""
    content = blobs["blobs/" + str(descriptor["digest"]).replace(":", "/")]
    assert len(content) == descriptor["size"]
    return content


def test_every_blob_is_named_for_its_content(blobs: dict[str, bytes]) -> None:
    named = {name.removeprefix("blobs/sha256/"): content for name, content in blobs.items() if "sha256" in name}
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in named.items())


def test_a_shared_layer_lies_in_the_archive_once(blobs: dict[str, bytes]) -> None:
    assert len([name for name in blobs if "sha256" in name]) == 2 + 2 * 2  # layers; manifest and configuration of each


def test_an_image_has_its_name_layers_and_command(blobs: dict[str, bytes]) -> None:
    entries = json.loads(blobs["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [
        "localhost/one:1",
        "localhost/two:1",
    ]
    manifest = json.loads(blob(blobs, entries[1]))
    config = json.loads(blob(blobs, manifest["config"]))
    assert (config["config"]["Cmd"], config["config"]["User"]) == (["sh"], "65535")
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert [len(blob(blobs, layer)) > 0 for layer in manifest["layers"]] == [True, True]
