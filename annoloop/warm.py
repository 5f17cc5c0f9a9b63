"""What worker processes all need, loaded once, by the server that they are forked from.

Not here: the processes (``workers.py``, which names this module to that server).  The fact to know: to load numba and
its first compiled loop takes most of the time that a process takes to be of use.
"""

from __future__ import annotations

import numpy as np

from annoloop import dataset, masks

__all__ = ["dataset", "masks"]

masks.components(np.zeros((1, 1), np.uint8))
