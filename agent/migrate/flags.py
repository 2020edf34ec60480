"""Reads a container's command line as Go's flag packages do, and its environment."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.migrate.report import Object

TRUE = frozenset({"true", "1", "t", "yes", "on"})


def flags(container: Object, switches: frozenset[str], short: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each flag's name, without hyphens, and its text, in order.

    *switches* take no word after them; *short* are one-letter flags with the names that they stand for. What is no flag
    comes with an empty name.
    """
    words = [str(word) for word in (*(container.get("command") or ())[1:], *(container.get("args") or ()))]
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            yield "", word
            continue
        name, equals, text = word.lstrip("-").partition("=")
        name = short.get(name, name)
        if not equals:
            takes_word = name not in switches and bool(words) and not words[0].startswith("-")
            text = words.pop(0) if takes_word else "true"
        yield name, text


def environment(container: Object) -> Mapping[str, str]:
    """Variables with their text, or where it comes from."""
    found: dict[str, str] = {}
    for one in container.get("env") or ():
        found[str(one.get("name", ""))] = str(one["value"]) if "value" in one else _reference(one.get("valueFrom"))
    for one in container.get("envFrom") or ():
        found[str(one.get("prefix", "")) + "*"] = _reference(one)
    return found


def api_server(variables: Mapping[str, str]) -> str:
    """The API server's URL where the environment names one, else nothing."""
    host, port = (variables.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    return f"https://{f'[{host}]' if ':' in host else host}:{port or 443}" if host else ""


def is_true(text: str) -> bool:
    """Go's strconv.ParseBool, and the words that people write."""
    return text.lower() in TRUE


def joined(texts: Sequence[str]) -> str:
    """A flag that may be given again is a list."""
    return ",".join(text for text in texts if text)


def _reference(given: Any) -> str:
    return f"from {given}" if given else ""
