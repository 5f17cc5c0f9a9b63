"""The words of Nuclio as CVAT speaks them: what a function says of itself, what it is asked, what it answers.

Not here: routes and limits (``application.py``).  The facts to know: an image travels as base64 in JSON, no name of a
file is ever looked at; and masks are written as digits by NumPy, because a list of a million numbers takes seconds.

Source: CVAT's ``lambda_manager`` and the functions in its folder ``serverless``, read in 2.54.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from annoloop.data.images import IMAGE_SUFFIXES
from annoloop.masks.regions import Bits
from annoloop.serving.clicks import Point, Prompts
from annoloop.serving.detection import Found, silhouette
from annoloop.serving.refusal import Refused

Kind = Literal["detector", "interactor"]

MOST_PX = 50_000_000
"""Of an image; a small file can hold billions of equal pixels."""

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MOST_POINTS = 1000
_COMMA, _ZERO, _OPEN, _CLOSE = b",0[]"


@dataclass(frozen=True, slots=True)
class Function:
    """What CVAT lists among its AI tools; ``labels`` are those of a detector."""

    name: str
    kind: Kind
    title: str
    description: str
    help_message: str
    labels: tuple[str, ...] = ()
    port: int = 0

    def described(self) -> dict[str, Any]:
        """The function as Nuclio's dashboard describes it; annotations are texts there."""
        labels = [
            {"id": number, "name": name, "type": "mask", "attributes": []}
            for number, name in enumerate(self.labels, start=1)
        ]
        annotations = {
            "type": self.kind,
            "name": self.title,
            "framework": "annoloop",
            "spec": json.dumps(labels),
            "version": "1",
            "help_message": self.help_message,
        }
        if self.kind == "interactor":
            annotations |= {"min_pos_points": "0", "min_neg_points": "0", "startswith_box_optional": "true"}
        return {
            "metadata": {"name": self.name, "namespace": "nuclio", "labels": {}, "annotations": annotations},
            "spec": {"description": self.description, "handler": "annoloop"},
            "status": {"state": "ready", "httpPort": self.port},
        }


# what is asked


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Refused: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the body must be a JSON object, it is a {type(found).__name__}")
    return found


def is_interaction(payload: Mapping[str, Any]) -> bool:
    """Whether a call that names no function means the interactor."""
    return any(key in payload for key in ("pos_points", "neg_points", "obj_bbox"))


def image_of(payload: Mapping[str, Any]) -> tuple[bytes, tuple[int, int]]:
    """The image file's bytes, and its height and width as it is shown; nothing of it is decoded.

    Raises:
        Refused: there is none, it is no image, or one with too many pixels.
    """
    text = payload.get("image")
    if not isinstance(text, str) or not text:
        raise Refused(400, "image: the bytes of an image file as base64 are needed here")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"image: this is no base64 ({error})") from None
    return data, _size_hw(data)


def _size_hw(data: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            orientation = 1 if image.format == "TIFF" else image.getexif().get(0x0112, 1)
    except Image.DecompressionBombError:
        raise Refused(413, f"image: it has more than {MOST_PX:,} px") from None
    except Exception:  # what Pillow raises for damaged files is not to be listed
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise Refused(400, f"image: this is no image, or a damaged one; known are {kinds}") from None
    if width * height > MOST_PX:
        raise Refused(413, f"image: {width} x {height} px are more than {MOST_PX:,}")
    return (width, height) if orientation in range(5, 9) else (height, width)


def threshold_of(payload: Mapping[str, Any]) -> float | None:
    """How sure a detection must be, 0 to 1; None where nobody said.

    Raises:
        Refused: it is no such number.
    """
    value = payload.get("threshold")
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value <= 1:
        raise Refused(400, f"threshold: {str(value)[:40]} is no number from 0 to 1")
    return float(value)


def prompts_of(payload: Mapping[str, Any], size_hw: tuple[int, int]) -> Prompts:
    """Clicks and box; a box may come as two points or as four numbers.

    Raises:
        Refused: neither a click nor a box, or one that is not in the image.
    """
    positive, negative = _points(payload, "pos_points", size_hw), _points(payload, "neg_points", size_hw)
    box = _box(payload, size_hw)
    if not positive and not negative and box is None:
        raise Refused(400, "pos_points, obj_bbox: a click or a box is needed")
    return Prompts(positive, negative, box)


def _points(payload: Mapping[str, Any], key: str, size_hw: tuple[int, int]) -> tuple[Point, ...]:
    value = payload.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST_POINTS:
        raise Refused(400, f"{key}: a list of at most {_MOST_POINTS} points x, y is needed here")
    return tuple(_point(point, key, size_hw) for point in value)


def _point(value: Any, key: str, size_hw: tuple[int, int]) -> Point:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise Refused(400, f"{key}: {str(value)[:40]} is no point x, y")
    x, y = map(float, value)
    if not (0 <= x <= size_hw[1] and 0 <= y <= size_hw[0]):
        raise Refused(400, f"{key}: {x:g}, {y:g} is not in the image of {size_hw[1]} x {size_hw[0]} px")
    return x, y


def _box(payload: Mapping[str, Any], size_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    value = payload.get("obj_bbox")
    if value is None or value == []:
        return None
    if isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        value = [value[:2], value[2:]]
    if not isinstance(value, list) or len(value) != 2:
        raise Refused(400, f"obj_bbox: {str(value)[:40]} is no box of two points x, y")
    (x1, y1), (x2, y2) = (_point(corner, "obj_bbox", size_hw) for corner in value)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can be
        return False


# what is answered


def detections_json(found: Sequence[Found]) -> list[bytes]:
    """A detector's answer, in pieces of JSON: label, type, mask (its box's digits and the box, inclusive), ...

    >>> from annoloop.masks.regions import Region
    >>> one = Found("crack", Region(1, 0, 1, np.array([[1, 0], [1, 1]], bool)), 0.75)
    >>> json.loads(b"".join(detections_json([one])))[0]["mask"]
    [1, 0, 1, 1, 1, 0, 2, 1]
    """
    written = [b"["]
    for number, one in enumerate(found):
        left, top, right, bottom = one.region.box_ltrb
        about = {
            "label": one.label,
            "type": "mask",
            "confidence": one.confidence,
            "points": silhouette(one.region),
            "attributes": [],
            "group_id": 0,
        }
        box = f"{left},{top},{right - 1},{bottom - 1}".encode()
        head = (b"," if number else b"") + json.dumps(about).encode()[:-1] + b', "mask": ['
        written += [head, _digits(one.region.bits), box, b"]}"]
    return [*written, b"]"]


def mask_json(bits: Bits) -> list[bytes]:
    """An interactor's answer, in pieces of JSON: the mask of the whole image, row by row.

    >>> b"".join(mask_json(np.array([[1, 0], [0, 1]], bool)))
    b'{"mask": [[1,0],[0,1]]}'
    """
    height, width = bits.shape
    rows = np.full((height, 2 * width + 2), _COMMA, np.uint8)
    rows[:, 0], rows[:, -2] = _OPEN, _CLOSE
    rows[:, 1:-2:2] = bits + np.uint8(_ZERO)
    return [b'{"mask": [', rows.tobytes()[:-1], b"]}"]


def _digits(bits: Bits) -> bytes:
    """0 or 1 for each pixel, each followed by a comma."""
    written = np.full((bits.size, 2), _COMMA, np.uint8)
    written[:, 0] = bits.ravel() + np.uint8(_ZERO)
    return written.tobytes()
