"""Numbers as people write them in annotations: digits alone, and never more than are asked for."""


def decimal(given: object, most: int) -> int | None:
    """A number from 0 to *most*, or its decimal digits; None for anything else.

    Digits are counted before they are read: Python's int() refuses more than 4300 with an error of its own, and
    ``isdecimal`` knows those of other alphabets.
    """
    if isinstance(given, int):
        return given if not isinstance(given, bool) and 0 <= given <= most else None
    if not isinstance(given, str) or not (given.isascii() and given.isdecimal()):
        return None
    digits = given.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(most)) and int(digits) <= most else None
