"""Writes OCI images into one archive: what a registry would serve, from files of this machine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLATFORM = {"architecture": "amd64", "os": "linux"}
LAYER, CONFIG, MANIFEST = (
    f"application/vnd.oci.image.{kind}" for kind in ("layer.v1.tar", "config.v1+json", "manifest.v1+json")
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its name as a pod asks for it, its layers from the lowest, and what runs in it."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer holds, by the path in the image: programs, plain files, links and folders."""

    programs: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def write(self, path: Path) -> Path:
        """Write the layer as a tar; the same content gives the same bytes."""
        with tarfile.open(path, "w") as tar:
            for name in self.folders:
                member = tarfile.TarInfo(name)
                member.type, member.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(member)
            for name, target in self.links.items():
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                tar.addfile(member)
            for name, source in self.programs.items():
                _add(tar, name, source.read_bytes(), 0o755)
            for name, content in self.files.items():
                _add(tar, name, content, 0o644)
        return path


def write(path: Path, images: Iterable[Image]) -> None:
    """Write *images* as one OCI layout in a tar, as ``ctr images import`` reads it."""
    with tarfile.open(path, "w") as tar:
        blobs = _Blobs(tar)
        manifests = [blobs.image(image) for image in images]
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())


class _Blobs:
    """What an archive holds by digest; a layer that images share lies in it once."""

    def __init__(self, tar: tarfile.TarFile):
        self._tar = tar
        self._digests: dict[Path, str] = {}

    def image(self, image: Image) -> dict[str, object]:
        """Add *image* and return its entry of the index; containerd names it by the annotation."""
        layers = [self._layer(path) for path in image.layers]
        settings = {"Env": [SEARCH_PATH], "WorkingDir": "/"}
        settings |= {"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}
        settings |= {"Cmd": list(image.command)} if image.command else {}
        settings |= {"User": image.user} if image.user else {}
        root = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}  # not compressed: the same digest
        config = self._json({**PLATFORM, "config": settings, "rootfs": root}, CONFIG)
        manifest = self._json({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}, MANIFEST)
        return {**manifest, "platform": PLATFORM, "annotations": {"io.containerd.image.name": image.name}}

    def _layer(self, path: Path) -> dict[str, object]:
        if path not in self._digests:
            with path.open("rb") as stream:
                self._digests[path] = hashlib.file_digest(stream, "sha256").hexdigest()
            self._tar.add(path, f"blobs/sha256/{self._digests[path]}", filter=_anonymous)
        return _descriptor(LAYER, self._digests[path], path.stat().st_size)

    def _json(self, value: Mapping[str, object], media: str) -> dict[str, object]:
        content = json.dumps(value).encode()
        digest = hashlib.sha256(content).hexdigest()
        _add(self._tar, f"blobs/sha256/{digest}", content)
        return _descriptor(media, digest, len(content))


def names(path: Path) -> Iterable[str]:
    """The paths in the tar at *path*, without a leading ``./``."""
    with tarfile.open(path) as tar:
        for member in tar:
            yield member.name.removeprefix("./")


def _descriptor(media: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
