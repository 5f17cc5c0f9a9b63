"""What a prediction's confidence PNG keeps beside its pixels: for each class the sum of entropy times its probability.

Not here: how it is computed (``training/mmseg/predict.py``) and what it is good for (``metrics/clasp_pe.py``).  The
fact to know: it stands in a text chunk before the pixels, so that reading it decodes nothing.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.float64]
"""float64 (K,): for each class c the sum over all pixels of H x p_c, in nats; together the sum of H."""

_KEY = "annoloop-class-entropy"
_TYPE = "<f4"
"""As files: sums in another order differ behind the digits that are kept, and equal predictions stay equal files."""


def noted(sums: Sums) -> Any:
    """Pillow's ``pnginfo`` for a PNG that keeps the sums."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(_KEY, base64.b64encode(sums.astype(_TYPE).tobytes()).decode())
    return info


def read_sums(path: Path) -> Sums | None:
    """The sums that a confidence PNG keeps; None where it keeps none, is not there, or cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = image.info.get(_KEY)
        return None if text is None else np.frombuffer(base64.b64decode(text), _TYPE).astype(np.float64)
    except (OSError, SyntaxError, ValueError, TypeError, binascii.Error):
        return None
