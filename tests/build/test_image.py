"""The image is built from what git has, and is named by it."""

import json
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

from deploy.build import image
from maps import libbpf_build

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one source and one document."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "agent").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "agent/main.py").write_text("1")
    (tmp_path / "docs/page.md").write_text("1")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    monkeypatch.setattr(image, "CHECKOUT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "is_other"),
    [
        pytest.param("agent/main.py", True, id="a source that changed"),
        pytest.param("agent/new.py", True, id="a source that is not yet committed"),
        pytest.param("agent/main.pyc", False, id="what git ignores is in no image"),
        pytest.param("docs/page.md", False, id="documents are in no image"),
    ],
)
def test_the_key_is_that_of_the_sources(checkout: Path, path: str, is_other: bool) -> None:  # noqa: FBT001
    before = image.key()
    (checkout / path).write_text("2")
    assert (image.key() != before) == is_other


def test_every_source_of_the_key_reaches_the_builder() -> None:
    passed = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(image.SOURCES) == passed | {"deploy/Dockerfile"}


def test_the_builders_name_and_resolver_are_in_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()

    def debian(*_: object, **__: object) -> None:
        for name in ("hostname", "resolv.conf", "passwd"):
            (tmp_path / "etc" / name).touch()

    class Buildah(image.Buildah):
        def __call__(self, *arguments: str) -> str:
            return str(tmp_path) if arguments[0] == "mount" else ""

    monkeypatch.setattr(subprocess, "run", debian)
    image._base(Buildah(tmp_path), ("run",))  # noqa: SLF001
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["passwd"]


def test_an_image_by_docker_alone_says_the_projects_version() -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nARG VERSION={version}\n" in (CHECKOUT / "deploy/Dockerfile").read_text()


def test_an_archive_is_described_by_its_manifest(tmp_path: Path) -> None:
    manifest = {"config": {"size": 10}, "layers": [{"size": 100}, {"size": 1000}]}
    files = {"index.json": {"manifests": [{"digest": "sha256:abc"}]}, "blobs/sha256/abc": manifest}
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        for name in files:
            tar.add(tmp_path / name, name)
    assert image.described(tmp_path / "archive.tar") == ("sha256:abc", 1110)


def test_the_extension_is_the_same_file_each_time_it_is_compiled(tmp_path: Path) -> None:
    made = libbpf_build.main(tmp_path, CHECKOUT / "build/libbpf")
    assert made.read_bytes() == (CHECKOUT / "build/ext" / made.name).read_bytes()
