"""The agent's image, of the sources of this checkout."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes.golang import BuildError, Say

BUILDER = Path(__file__).resolve().parents[2] / "deploy" / "build" / "image.py"
IMAGE = "localhost/sluiceway"


@dataclass(frozen=True, slots=True)
class Image:
    """The agent's image: what pods call it, and the archive that has it."""

    name: str
    archive: Path


def image(cache: Path, say: Say) -> Image:
    """The image of this checkout, built when *cache* has none of these sources.

    Raises:
        BuildError: it could not be made.
    """
    key = _build("--key").strip()
    folder = cache / f"agent-{key}"
    if not (found := [*folder.glob("*.oci.tar")]):
        say("the agent's image is being built: minutes, when nothing of it is there")
        said = _build(f"--out={folder}")
        say(f"the agent's image: {said.splitlines()[-2]}")
        found = [*folder.glob("*.oci.tar")]
    return Image(f"{IMAGE}:{key}", found[0])


def _build(*arguments: str) -> str:
    done = subprocess.run([sys.executable, str(BUILDER), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"the agent's image: {done.stderr[-2000:].strip()}")
    return done.stdout
