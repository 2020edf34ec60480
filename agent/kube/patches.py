"""Merge patches to an API server, which is left alone for a while after each that failed, the longer the more often.

What it refuses of one object, as where an admission webhook does not agree, keeps no other waiting.
"""

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
        self._alone: dict[object, tuple[int, float]] = {}  # refused by themselves: how often in a row; until when
        self._random = random.Random().random  # noqa: S311  jitter between nodes, which nobody must not guess
        self._not_before = 0.0  # of the clock: when the next may be sent

    def due_at(self, about: object) -> float:
        """When the next *about* this may be sent, by the clock."""
        return max(self._not_before, self._alone.get(about, (0, 0.0))[1])

    def is_done(self, path: str, content: object, about: object) -> bool:
        """Whether it is written, or never will be; else it is to be tried again. The log has what it is *about*."""
        at_least_s, is_of_one = 0.0, False
        try:
            self._client.send("PATCH", path, content, MERGE_PATCH, TIMEOUT_S)
        except Refused as error:
            if error.refusal.is_final:
                log.info("not accepted by the API server", what=self._what, about=about, why=error)
                trouble = ""
            else:
                trouble, at_least_s = str(error), error.refusal.retry_after_s
                is_of_one = error.refusal.is_of_one
        except TROUBLE as error:
            trouble = " ".join(str(error).split())
        else:
            trouble = ""
        if not trouble:
            self._failures = 0
            self._alone.pop(about, None)
            return True
        failures = 1 + (self._alone.get(about, (0, 0.0))[0] if is_of_one else self._failures)
        wait_s = backoff_s(failures, self._random(), at_least_s=at_least_s, longest_s=self._longest_s)
        if is_of_one:
            self._alone[about] = failures, self._clock() + wait_s
        else:
            self._failures, self._not_before = failures, self._clock() + wait_s
        log.warning("cannot be written; tried again", what=self._what, about=about, why=trouble)
        return False
