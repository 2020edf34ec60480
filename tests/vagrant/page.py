"""docs/install/kubeadm.md: its blocks of commands, each under the script of vagrant/provision/ that types it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.vagrant.stubs import CHECKOUT

PAGE = CHECKOUT / "docs/install/kubeadm.md"
SCRIPT = re.compile(r"\(\.\./\.\./vagrant/provision/([\w-]+)\.sh\)")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """What is typed at once, and the script that the page named last."""

    script: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The commands, and what they are given, line by line."""
        return lines(self.text)


def blocks(script: str | None = None) -> Iterator[Block]:
    """Every block of the page, or those of one *script*."""
    text = PAGE.read_text()
    for found in BLOCK.finditer(text):
        block = Block(SCRIPT.findall(text[: found.start()])[-1], found[1])
        if script in {None, block.script}:
            yield block


def lines(text: str) -> list[str]:
    """What is not empty, without its indentation."""
    return [line.strip() for line in text.splitlines() if line.strip()]
