"""One COCO segmentation, in any of the shapes that tools give it, as run lengths.

Read are RLE, compressed or plain, polygons as flat numbers or as points, each also in a list or without one, and all
of it as JSON text.  Not here: painting (``painting.py``).  The fact to know: only what can mean one thing is
read; a part that cannot be read is told, and the other parts of the segmentation are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.data.coco.json_values import whole
from annoloop.errors import DataError
from annoloop.masks.coco_counts import Ints
from annoloop.masks.regions import FAR_PX, outline_counts

_LONGEST_OUTLINE_PX = 1 << 23
"""Of a polygon; the most winding of a real image are a hundred times shorter."""

_FEWEST_NUMBERS = 6

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""

Points = npt.NDArray[np.float64]


@dataclass(slots=True)
class Drawn:
    """What a segmentation covers: counts of one mask or of several that are one.

    ``box_ltrb`` is the box of all polygons, in px as they are written; ``short`` counts parts of fewer than three
    points; ``wrong`` says of each part that cannot be read why; ``is_empty``: there was nothing at all.
    """

    counts: list[str | Ints] = field(default_factory=list)
    box_ltrb: Box | None = None
    short: int = 0
    wrong: list[str] = field(default_factory=list)
    is_empty: bool = False


def read_segmentation(value: Any, size_hw: tuple[int, int]) -> Drawn:
    """What a segmentation covers of an image of (height, width)."""
    if isinstance(value, dict) and isinstance(value.get("counts"), str) and value.get("size") == [*size_hw]:
        return Drawn([value["counts"]])  # as all of our own are
    drawn = Drawn()
    try:
        _read(_of_text(value), size_hw, drawn)
    except (DataError, TypeError, ValueError, OverflowError, RecursionError) as error:
        drawn.wrong.append(error.message if isinstance(error, DataError) else _cannot(value, error))
    return drawn


def is_shares(value: Any) -> bool | None:
    """Whether all coordinates of polygons are 0 to 1, as shares of an image; None for what holds no polygon."""
    try:
        outlines = [_outline(part) for part in _parts(value) if isinstance(part, list) and part]
    except (DataError, TypeError, ValueError, OverflowError):
        return None
    long = [one for one in outlines if one.size >= _FEWEST_NUMBERS]
    return all(bool((one >= 0).all() and (one <= 1).all()) for one in long) if long else None


def rle_size(value: Any) -> tuple[int, int] | None:
    """The size (height, width) that a segmentation tells by itself."""
    first = value[0] if isinstance(value, list) and value else value
    size = first.get("size") if isinstance(first, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = whole(size[0]), whole(size[1])
    return None if height is None or width is None else (height, width)


def _of_text(value: Any) -> Any:
    """What JSON text stands for, as where a table of text held it."""
    return json.loads(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value


def _read(value: Any, size_hw: tuple[int, int], drawn: Drawn) -> None:
    if value is None or value in ([], {}, ""):
        drawn.is_empty = True
        return
    outlines: list[Points] = []
    boxes: list[Box] = []
    for part in _parts(value):
        try:
            if isinstance(part, dict):
                drawn.counts.append(_rle(part, size_hw))
                continue
            outline = _outline(part)
            if outline.size < _FEWEST_NUMBERS:
                drawn.short += 1
                continue
            boxes.append(_checked_box(outline))
            outlines.append(outline)
        except DataError as error:
            drawn.wrong.append(error.message)
        except (TypeError, ValueError, OverflowError) as error:
            drawn.wrong.append(_cannot(part, error))
    if outlines:
        drawn.counts.append(outline_counts(outlines, size_hw))
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        drawn.box_ltrb = min(lefts), min(tops), max(rights), max(bottoms)


def _parts(value: Any) -> Iterator[Any]:
    """RLE objects, and polygons as lists."""
    if isinstance(value, dict):
        yield value if "counts" in value else [value]
        return
    if not isinstance(value, list):
        raise ValueError(f"it is no list and no object but {str(value)[:40]!r}")
    flat = not any(isinstance(part, list) or _is_rle(part) for part in value)
    # [[x, y], [x, y], [x, y]] has the form of three parts of one point each, which would be nothing.
    points = len(value) > 2 and all(isinstance(part, list) and _is_point(part) for part in value)
    yield from [value] if flat or points else value


def _is_rle(part: Any) -> bool:
    return isinstance(part, dict) and "counts" in part


def _is_point(part: list[Any]) -> bool:
    return len(part) == 2 and not any(isinstance(number, list | dict) for number in part)


def _outline(part: Any) -> Points:
    """x, y, x, y, ... of flat numbers, of pairs, of objects with x and y, or of one such list in another."""
    if not isinstance(part, list):
        raise TypeError(f"{str(part)[:40]!r} is no list of numbers")
    if part and isinstance(part[0], dict):
        part = [[point["x"], point["y"]] for point in part if _has_x_and_y(point)]
    numbers = np.array(part, np.float64)
    if numbers.ndim == 3 and len(numbers) == 1:
        numbers = numbers[0]
    if numbers.ndim == 2 and (numbers.shape[1] == 2 or len(numbers) == 1):
        numbers = numbers.ravel()
    if numbers.ndim != 1:
        raise ValueError("lists in lists that may be holes")
    return numbers


def _has_x_and_y(point: Any) -> bool:
    if not isinstance(point, dict) or not {"x", "y"} <= point.keys():
        raise ValueError("an object without x and y")
    return True


def _rle(part: dict[str, Any], size_hw: tuple[int, int]) -> str | Ints:
    if "counts" not in part:
        raise DataError("an object without counts")
    size, counts = part.get("size"), part["counts"]
    if size is not None:
        if not isinstance(size, list) or len(size) != 2:
            raise DataError(f"RLE size {str(size)[:40]} is not height and width")
        if (whole(size[0]), whole(size[1])) != size_hw:
            raise DataError(f"RLE size {size} is not the image's {[*size_hw]} (height, width)")
    if isinstance(counts, str):
        return counts
    if not isinstance(counts, list):
        raise DataError(f"RLE counts are no list and no text but {str(counts)[:40]!r}")
    numbers = [whole(count) for count in counts]
    if any(number is None for number in numbers):
        wrong = next(count for count, number in zip(counts, numbers, strict=True) if number is None)
        raise DataError(f"RLE counts hold {str(wrong)[:40]!r}, which is no whole number")
    return np.array(numbers, np.int64)


def _cannot(value: Any, error: Exception) -> str:
    """What stands where a segmentation should be, in words."""
    why = f"no {error}" if isinstance(error, KeyError) else str(error)
    text = json.dumps(value, default=str) if not isinstance(error, RecursionError) else "lists in lists without end"
    return f"{text[:40]}{'…' if len(text) > 40 else ''} cannot be read ({why[:80]})"


def _checked_box(outline: Points) -> Box:
    """The box of an outline that can be drawn.

    What draws it takes memory for each px of its length, and a few points may be far from one another.

    Raises:
        DataError: an odd count of numbers, or it is longer than any outline in an image.
    """
    if outline.size % 2:
        raise DataError(f"a polygon is x, y pairs, one has {outline.size} numbers")
    xy = outline.reshape(-1, 2)
    (left, top), (right, bottom) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    if not all(-FAR_PX <= side <= FAR_PX for side in (left, top, right, bottom)):  # NaN is not, either
        raise DataError("a polygon has a point that is no position in an image")
    may_be_long = outline.size * max(right - left, bottom - top) > _LONGEST_OUTLINE_PX  # which few are
    if may_be_long and np.sum(np.abs(outline - np.roll(outline, 2))) > _LONGEST_OUTLINE_PX:
        raise DataError(f"a polygon's outline is longer than {_LONGEST_OUTLINE_PX} px")
    return left, top, right, bottom
