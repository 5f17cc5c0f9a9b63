"""What all compiled loops share: how a function is compiled, and the kinds of arrays that they take.

Not here: any loop.  The facts to know: a loop is compiled at its first call, which takes seconds, and then kept on disk
for every later process; and it trusts the sizes of the arrays that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
R = TypeVar("R")

Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
Ints: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Bits: TypeAlias = npt.NDArray[np.bool_]
Words: TypeAlias = npt.NDArray[np.uint64]
Owners: TypeAlias = npt.NDArray[np.int32]


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The same function in machine code."""
    try:
        return cast(Callable[P, R], numba.njit(cache=True)(function))
    except RuntimeError:  # neither this folder nor the user's cache can be written: every process compiles anew
        return cast(Callable[P, R], numba.njit(function))


def readable(array: Pixels) -> Pixels:
    """The same row by row in memory and read-only: a loop is compiled for each kind of array that it gets."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
