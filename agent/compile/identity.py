"""What tells one holder of a slot from the next."""

from hashlib import blake2s

from agent.model.attachment import Attachment


def identity(attachment: Attachment) -> int:
    """The revision that an attachment begins with: another one for another interface; never 0."""
    made_of = (attachment.container_id, attachment.interface, attachment.mac, attachment.link)
    return int.from_bytes(blake2s(repr(made_of).encode(), digest_size=4).digest(), "little") or 1
