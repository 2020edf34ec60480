"""YAML that others wrote, as values: whatever is wrong with it is one error.

PyYAML goes down by recursion, and what its constructors meet comes out as it is: ``!!int ""`` is an IndexError,
``!!bool x`` a KeyError, ``2020-99-99`` a ValueError.
"""

import codecs
import re

import yaml

DEEPEST = 500  # levels of a document
_INDENT = re.compile(rb"[ \t?:-]{%d}" % (DEEPEST // 2))
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as PowerShell writes what a command prints


class YamlError(ValueError):
    """A text that is no YAML, or none that can be read; in one line, which may show some of the text."""


def read_yaml_documents(content: str | bytes, *, as_text: bool = False) -> list[object]:
    """The documents of a text; None for an empty one.

    *as_text*: every value is the text that stands there, ``0123`` and ``no`` too; an empty one is the empty text.

    Raises:
        YamlError: it cannot be read.
    """
    loader = yaml.CBaseLoader if as_text else yaml.CSafeLoader
    try:
        octets = _utf8(content)
        is_deep = _may_be_deep(octets) and _is_deep(octets)
        found = [] if is_deep else list(yaml.load_all(octets, Loader=loader))
    except Exception as error:  # constructors raise whatever int(), float() and datetime do
        raise YamlError(" ".join(str(error).split())) from error
    if is_deep:
        raise YamlError(f"values are nested more than {DEEPEST} deep, which no Kubernetes object is")
    return found


def read_yaml(content: str | bytes, *, as_text: bool = False) -> object:
    """The only document of a text; None for an empty text. *as_text* as for several.

    Raises:
        YamlError: it cannot be read, or there are more.
    """
    found = read_yaml_documents(content, as_text=as_text)
    if len(found) > 1:
        raise YamlError("there is more than one document; leave out the lines of ---")
    return found[0] if found else None


def _utf8(content: str | bytes) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return content.decode("utf-16").encode() if content.startswith(_UTF16) else content


def _may_be_deep(content: bytes) -> bool:
    """Whether there are as many brackets, or as long a row of what indents, as any deep document has one of."""
    return content.count(b"{") + content.count(b"[") > DEEPEST // 2 or _INDENT.search(content) is not None


def _is_deep(content: bytes) -> bool:
    """Whether values are nested too deep, by libyaml's events: its loader goes down by recursion, and a stack ends."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            return True
    return False
