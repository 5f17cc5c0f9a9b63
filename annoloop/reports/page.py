"""HTML pages in one file each: templates filled in, pictures and charts inside; the only home of Jinja.

Everything that a template is given is escaped, but for charts, which it marks as safe itself.  The fact to
know: a page asks nothing of the network and of no other file, so it can be mailed or put on any server.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

_OURS = b'<meta name="generator" content="annoloop">'
_HEAD_BYTES = 1000

_QUALITY = 85


def render(template: str, **values: Any) -> str:
    """A page from one of ``templates/``; every name that it uses must be given."""
    return _environment().get_template(template).render(**values)


def is_ours(path: Path) -> bool:
    """Whether a file is a page that was made here, and may be replaced by another."""
    try:
        with path.open("rb") as file:
            return _OURS in file.read(_HEAD_BYTES)
    except OSError:
        return False


def picture(rgb: npt.NDArray[np.uint8], *, longest_px: int = 480, photo: bool = True) -> str:
    """A picture uint8 (H, W, 3) as a data URI, shrunk to at most ``longest_px``.

    A photo is averaged and becomes a JPEG; anything else keeps its colours exactly, in a PNG.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb))
    longest = max(image.size)
    if longest > longest_px:
        size_wh = tuple(max(1, side * longest_px // longest) for side in image.size)
        image = image.resize(size_wh, Image.Resampling.BOX if photo else Image.Resampling.NEAREST)  # type: ignore[arg-type]
    stream = io.BytesIO()
    if photo:
        image.save(stream, "JPEG", quality=_QUALITY)
    else:
        image.save(stream, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def thousands(value: int) -> str:
    """A whole number, its thousands apart by thin spaces."""
    return f"{value:,}".replace(",", "\u202f")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash for what is not there."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.{digits}f} %"


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"number": _number, "percent": percent, "count": thousands}
    return found


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"
