"""What nodes know is kept when tests of a run were bad."""

import subprocess
from pathlib import Path

from lab.conformance import evidence


class Node:
    """A node of which one command fails."""

    name = "n1"

    def run(self, *argv: str, check: bool) -> subprocess.CompletedProcess[str]:
        """As Machine.run()."""
        assert not check
        fails = "drops" in argv
        return subprocess.CompletedProcess(argv, int(fails), "" if fails else "said", "no map" if fails else "")

    def log_tail(self, name: str) -> str:
        """As Machine.log_tail()."""
        return f"log of {name}"


def test_each_command_of_each_node_is_kept_and_one_that_fails_says_why(tmp_path: Path) -> None:
    folder = evidence.gather([Node()], tmp_path / "bgp" / "nodes")  # type: ignore[list-item]
    (file,) = folder.iterdir()
    text = file.read_text()
    assert file.name == "n1.txt"
    assert [part.partition("\n")[2].strip() for part in text.split("==== ")[1:]] == [
        "no map" if "drops" in command else "said" for command in evidence.COMMANDS
    ] + ["log of agent"]
