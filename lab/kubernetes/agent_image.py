"""The agent's image and BIRD's, of the sources of this checkout."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes.golang import BuildError, Say

BUILDER = Path(__file__).resolve().parents[2] / "deploy" / "build" / "image.py"
IMAGE, BIRD = "localhost/sluiceway", "localhost/sluiceway-bird"


@dataclass(frozen=True, slots=True)
class Image:
    """An image: what pods call it, and the archive that has it."""

    name: str
    archive: Path


def image(cache: Path, say: Say) -> Image:
    """The image of this checkout, built when *cache* has none of these sources.

    Raises:
        BuildError: it could not be made.
    """
    return _image(cache, say, "the agent's image", IMAGE)


def bird(cache: Path, say: Say) -> Image:
    """BIRD's image, for the second container of nodes that speak BGP; as `image`.

    Raises:
        BuildError: it could not be made.
    """
    return _image(cache, say, "BIRD's image", BIRD, "--bird")


def _image(cache: Path, say: Say, what: str, name: str, *flags: str) -> Image:
    key = _build(what, "--key", *flags).strip()
    folder = cache / f"{'bird' if flags else 'agent'}-{key}"
    if not (found := [*folder.glob("*.oci.tar")]):
        say(f"{what} is being built: minutes, when nothing of it is there")
        said = _build(what, f"--out={folder}", *flags)
        say(f"{what}: {said.splitlines()[-2]}")
        found = [*folder.glob("*.oci.tar")]
    return Image(f"{name}:{key}", found[0])


def _build(what: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, str(BUILDER), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{what}: {done.stderr[-2000:].strip()}")
    return done.stdout
