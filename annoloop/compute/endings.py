"""How a command that lasts is ended: by ^C, by whoever manages services, or by a terminal that is closed.

Not here: what is done then, which is the same for all three.
"""

from __future__ import annotations

import signal


def ended_like_by_interrupt() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as ^C does."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
