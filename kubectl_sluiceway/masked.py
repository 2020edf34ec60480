"""Objects without what may be a secret in them: passwords stand in annotations of Nodes, in arguments and environments.

Source: kube-router's annotations ``kube-router.io/peers`` and ``kube-router.io/peer.passwords``, and its flag
``--peer-router-passwords``.
"""

import re
from typing import Any

STARS = "***"
# all that kubectl apply was given is in the last
_ANNOTATIONS = re.compile(r"kube-router\.io/peers|.*password.*|kubectl\.kubernetes\.io/last-applied-configuration")
_NAME = r"--?[\w-]*(?:password|passwd|token|secret)[\w-]*"
_FLAG = re.compile(rf"({_NAME})(=.*)?", re.DOTALL)
_WITHIN = re.compile(rf"""(?<!\S)({_NAME}(?:=|[ \t]+(?!-)))("[^"]*"|'[^']*'|\S+)""")  # of a shell's line
_VALUES = frozenset({"env", "httpHeaders"})  # lists of names with values


def masked(value: Any, within: str = "") -> Any:
    """The same object; stars are in place of what may be secret. *within* is the field that has it."""
    if isinstance(value, dict):
        if within == "annotations":
            return {key: STARS if _ANNOTATIONS.fullmatch(key) else text for key, text in value.items()}
        return {key: STARS if key == "value" and within in _VALUES else masked(of, key) for key, of in value.items()}
    if isinstance(value, list) and within in {"args", "command"}:
        return _arguments(value)
    if isinstance(value, list):
        return [masked(each, within) for each in value]
    return value


def _arguments(words: list[str]) -> list[str]:
    """A flag's value is behind ``=``, or the next word."""
    shown, is_secret = [], False
    for word in words:
        found = _FLAG.fullmatch(word)
        if is_secret and not word.startswith("-"):
            shown.append(STARS)
        else:
            shown.append(f"{found[1]}={STARS}" if found and found[2] else _WITHIN.sub(rf"\1{STARS}", word))
        is_secret = bool(found and not found[2])
    return shown
