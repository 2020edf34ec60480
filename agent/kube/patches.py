"""Merge patches to an API server, which is left alone for a while after each that failed, the longer the more often."""

import random
import time
from collections.abc import Callable

from agent.kube.client import TROUBLE, Client, Refused
from agent.kube.retry import backoff_s
from agent.log import logger

log = logger(__name__)

TIMEOUT_S = 10.0
MERGE_PATCH = "application/merge-patch+json"


class Patches:
    """Those of one thread."""

    def __init__(
        self, client: Client, what: str, longest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*what* is written, for the log; at most *longest_s* lie between two tries; *clock* gives seconds."""
        self._client, self._what, self._longest_s, self._clock = client, what, longest_s, clock
        self._failures = 0  # in a row
        self._random = random.Random().random  # noqa: S311  jitter between nodes, which nobody must not guess
        self.not_before = 0.0  # of the clock: when the next may be sent

    def is_done(self, path: str, content: object, about: object) -> bool:
        """Whether it is written, or never will be; else it is to be tried again. The log has what it is *about*."""
        at_least_s = 0.0
        try:
            self._client.send("PATCH", path, content, MERGE_PATCH, TIMEOUT_S)
        except Refused as error:
            if error.refusal.is_final:
                log.info("not accepted by the API server", what=self._what, about=about, why=error)
                trouble = ""
            else:
                trouble, at_least_s = str(error), error.refusal.retry_after_s
        except TROUBLE as error:
            trouble = " ".join(str(error).split())
        else:
            trouble = ""
        if not trouble:
            self._failures = 0
            return True
        self._failures += 1
        wait_s = backoff_s(self._failures, self._random(), at_least_s=at_least_s, longest_s=self._longest_s)
        self.not_before = self._clock() + wait_s
        log.warning("cannot be written; tried again", what=self._what, about=about, why=trouble)
        return False
