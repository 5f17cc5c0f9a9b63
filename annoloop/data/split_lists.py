"""Lists of a split's images, in a text file: one a line, in the many ways that people write them.

Text in, stems out; not here: files.  A line may be a stem, a file's name, a path that ends in it, or the paths of an
image and its mask.  The fact to know: only names are compared, so what is listed need not be there.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from annoloop.data.data_section import Place

_BETWEEN = re.compile(r"[\t,;]| +")


def listed_stems(text: str, place: Place) -> list[str]:
    """The stems in a list, in its order.

    >>> place = Place("img/train", "ann/train", "", "", (".jpg",), ".png", "train.txt")
    >>> listed_stems("a\\n\\nimg/train/b.jpg ann/train/b.png\\n/data/img/train/x/c.jpg\\n", place)
    ['a', 'b', 'x/c']
    """
    lines = (line.strip().replace("\\", "/") for line in text.lstrip("\ufeff").splitlines())
    return [_stem(line, place) for line in lines if line and not line.startswith("#")]


def _stem(line: str, place: Place) -> str:
    image = _image(line, place).removeprefix("./")
    below = _below(image, place.images)
    stem = place.stem_of_image(below)
    return _unsuffixed(below, place) if stem is None else stem


def _image(line: str, place: Place) -> str:
    """The first of several entries of a line; a name with blanks is one entry."""
    ends = "|".join(re.escape(suffix) for suffix in (*place.image_suffixes, place.mask_suffix))
    if first := re.match(rf"(?i)[\"']?(.+?(?:{ends}))[\"']?[\t,; ]", line):
        return first[1]
    parts = _BETWEEN.split(line)
    if len(parts) > 1 and _tail(parts[0]) == _tail(parts[-1]):
        return parts[0].strip("\"'")
    return line.strip("\"'")


def _tail(path: str) -> str:
    return PurePosixPath(path).stem


def _below(image: str, folder: str) -> str:
    """What of a path lies below a folder, of which the path may name the last parts only."""
    parts, above = PurePosixPath(image).parts, PurePosixPath(folder).parts
    for end in range(len(parts) - 1, 0, -1):
        if any(parts[end - known : end] == above[-known:] for known in range(1, min(end, len(above)) + 1)):
            return "/".join(parts[end:])
    return parts[-1] if image.startswith("/") or ".." in parts else image


def _unsuffixed(name: str, place: Place) -> str:
    """A name without the image's suffix in another case, or without its mask's; else as it is."""
    for suffix in (*place.image_suffixes, place.mask_suffix):
        end = PurePosixPath(f"x{suffix}").suffix
        for ending in (suffix, end):
            if name.lower().endswith(ending.lower()):
                return name[: -len(ending)]
    return name
