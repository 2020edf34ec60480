"""What a shell completes after ``kubectl sluiceway``: kubectl asks a program ``kubectl_complete-sluiceway`` for it."""

from collections.abc import Sequence

COMMANDS = {
    "status": "whether all agents are ready and pods reach each other",
    "dpctl": "dpctl on the node of an agent",
    "report": "an archive for whoever is to help",
}
FLAGS = ("--namespace", "--context", "--kubeconfig")
OF_COMMAND = {
    "status": ("--wait", "--timeout", "--no-probe", "--output"),
    "dpctl": ("--node", "--pod"),
    "report": ("--output",),
}
NO_FILES = ":4"  # cobra's ShellCompDirectiveNoFileComp


def candidates(words: Sequence[str]) -> list[str]:
    """What may stand in place of the last of *words*, each with what it is; cobra's directive ends the list."""
    *before, last = words or [""]
    command = next((word for word in before if word in COMMANDS), "")
    if not command:
        found = [f"{name}\t{what}" for name, what in COMMANDS.items()] + list(FLAGS)
    else:
        found = list(OF_COMMAND.get(command, ()))
    return [*(text for text in found if text.startswith(last)), NO_FILES]
