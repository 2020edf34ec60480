"""A file for each attachment, as agents before the ``journal`` had them: read once, so that an upgrade keeps its pods.

The journal removes them when it has them. To be dropped with the release after the next.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.log import logger
from agent.model.attachment import VETH_PREFIX
from agent.pods.attachments import Saved, address
from agent.pods.record import AttachmentRecord

log = logger(__name__)


class _File(msgspec.Struct):
    attachment: AttachmentRecord
    network: str
    boot_id: str
    sequence: int


def attachment_files(directory: Path, boot: str) -> Iterator[Saved]:
    """The attachments of this boot that have a file; nothing is changed."""
    for path in sorted(directory.glob(f"{VETH_PREFIX}*.json")):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File, dec_hook=address)
        except (OSError, ValueError, RecursionError) as error:
            log.warning("attachment file is unreadable, and its pod's device goes", file=path, error=error)
            continue
        if found.boot_id == boot:
            yield Saved(found.attachment.attachment(), found.network, found.sequence)
