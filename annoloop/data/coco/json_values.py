"""Single values of COCO files as tools of all kinds write them: whole numbers, ids, texts, colours, file names.

Not here: entries and lists (``reading.py``).  The fact to know: 64, 64.0 and "64" are the same number and the
same id, and what cannot be read gives None instead of an error.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Json = dict[str, Any]

Id: TypeAlias = int | str
"""A whole number where it is one, however it is written; else the text."""

_LONGEST_NAME, _LONGEST_PATH = 255, 3000
"""Bytes: of a part of a path, and of all of them with room for the folder that they go to, as Linux has it."""

_WHOLE = re.compile(r"\s*[+-]?\d{1,18}(\.0*)?\s*", re.ASCII)
_RGB = re.compile(r"(rgba?)?[\s(\[]*\d+(\s*,\s*[\d.]+){2,3}[\s)\]]*", re.ASCII)
_OUTSIDE = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]+://")
"""How a path begins that is not relative: a root, a drive of Windows, a URL."""


def whole(value: object) -> int | None:
    """A whole number, also one that is written as 64.0 or "64".

    >>> [whole(64), whole(64.0), whole(" 64 "), whole("64.0"), whole(64.5), whole(True), whole("a")]
    [64, 64, 64, 64, None, None, None]
    """
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.strip().partition(".")[0])
    return None


def read_id(value: object) -> Id | None:
    """An id of any type; None for what cannot be one."""
    if type(value) is int:
        return value
    if isinstance(value, str) and value:
        number = whole(value)
        return value if number is None else number
    return whole(value)


def read_text(value: object) -> tuple[str | None, str]:
    """A text that can name a file or a class, or None and why it cannot.

    It can be written down, and holds no NUL, which ends a path.
    """
    if type(value) is int:
        return str(value), ""
    if not isinstance(value, str) or not value.strip():
        return None, "none" if value in (None, "") else f"no text but {_shown(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return None, f"{_shown(value)} is no text: it holds half a character"
    return (None, f"{_shown(value)} holds a NUL") if "\0" in value else (value, "")


def unusable_name(name: str) -> str | None:
    """Why a file cannot be called that, or None."""
    if any(len(part.encode()) > _LONGEST_NAME for part in name.split("/")) or len(name.encode()) > _LONGEST_PATH:
        return f"longer than a file's name can be: {name[:60]}…"
    if not name.strip("/.") or name.endswith("/"):
        return f"{name!r} names no file"
    return None


def points_outside(name: str) -> bool:
    """Whether a path leaves the folder that it is put behind.

    >>> [points_outside(name) for name in ("a/b.jpg", "/a.jpg", "a/../../b.jpg", "C:/a.jpg", "https://x/a.jpg")]
    [False, True, True, True, True]
    """
    return bool(_OUTSIDE.match(name)) or ".." in name.split("/")


def read_color(value: object) -> str | None:
    """A colour as ``#rrggbb``, from that, from three numbers, or from them as text; None for anything else.

    >>> read_color("#A60F2F"), read_color([230, 25, 75.0]), read_color("rgb(0, 128, 255)"), read_color(True)
    ('#a60f2f', '#e6194b', '#0080ff', None)
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if re.fullmatch(r"#[0-9a-f]{6}", text):
            return text
        if re.fullmatch(r"#[0-9a-f]{3}", text):
            return "#" + "".join(2 * digit for digit in text[1:])
        value = re.findall(r"\d+", text) if _RGB.fullmatch(text) else []
    if not isinstance(value, list) or len(value) not in (3, 4):
        return None
    rgb = [level for one in value[:3] if (level := whole(one)) is not None and 0 <= level <= 255]
    return "#" + "".join(f"{level:02x}" for level in rgb) if len(rgb) == 3 else None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
