"""Loops that count how often a value of one label map meets a value of another.

Not here: scores (``metrics/scores.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from annoloop.masks.kernels.machine_code import Ints, Pixels, Words, compiled


@compiled
def count_pairs(truth: Pixels, prediction: Pixels, table: Ints) -> None:
    """Add how often every pair occurs to a table (K, K); values from K - 1 on count as K - 1.  Both maps flat."""
    for here in range(truth.size):
        _add(table, truth[here], prediction[here], 1)


@compiled
def count_words(truth: Words, prediction: Words, bits: int, table: Ints) -> None:
    """The same of maps read as words, each several pixels of so many bits.

    Mostly all pixels of a word are alike, and are counted at once.
    """
    pixels, mask = 64 // bits, np.uint64((1 << bits) - 1)
    one, rest = np.uint64(bits), np.uint64(64 - bits)
    for here in range(truth.size):
        t, p = truth[here], prediction[here]
        if t == (t << one | t >> rest) and p == (p << one | p >> rest):  # turned by a pixel it is the same
            _add(table, t & mask, p & mask, pixels)
            continue
        for _ in range(pixels):
            _add(table, t & mask, p & mask, 1)
            t, p = t >> one, p >> one


@compiled
def _add(table: Ints, row: Any, column: Any, count: int) -> None:
    last = np.int64(len(table) - 1)
    table[min(np.int64(row), last), min(np.int64(column), last)] += count
