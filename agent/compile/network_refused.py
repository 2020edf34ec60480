"""What is said of a configuration or an annotation that asks for what cannot be."""


class NetworkRefused(ValueError):  # noqa: N818  the name says what happened
    """A configuration or an annotation cannot be used; *field* is where, as a path."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.text = text
