"""CVAT's limit on anonymous calls: so many in any minute, then 429 until the oldest is a minute ago.

One count for everybody, because everybody calls from 127.0.0.1; a restart forgets it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from annoloop.sandbox.refusals import throttled

_WINDOW_S = 60.0


class Throttle:
    """At most ``per_minute`` calls in any minute; 0 is no limit. Its user sees to threads."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._admitted: deque[float] = deque(maxlen=per_minute)

    def admit(self) -> None:
        """Count one call.

        Raises:
            Refusal: 429, it is one too many.
        """
        if self.per_minute == 0:
            return
        moment = self._clock()
        if len(self._admitted) == self.per_minute:
            wait_s = self._admitted[0] + _WINDOW_S - moment
            if wait_s > 0:
                raise throttled(math.ceil(wait_s))
        self._admitted.append(moment)  # drops the oldest when it is full
