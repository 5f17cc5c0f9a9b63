"""The annotation guide of a CVAT project, written from the class table.

Markdown as CVAT shows it behind its "Guide" button.  The facts to know: ``MARK`` tells a guide of ours from one that
people wrote, which is never replaced; and a colour is shown by a small picture, which CVAT keeps for the guide
(``/api/assets``), so that the text names its address only once the picture is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from annoloop.data.images import IndexImage, encode_index_png
from annoloop.masks.classes import IGNORE_LABEL, ClassTable

MARK = "[//]: # (written by annoloop)"
"""A line that Markdown does not show."""

MOST_PICTURES = 30
"""So many files CVAT keeps for one guide."""

_SWATCH_HW = (18, 36)
_PICTURE = re.compile(r"!\[(#[0-9a-f]{6})\]\(([^)]*)\)")
_TO_COME = "swatch"


def swatch_png(color: str) -> bytes:
    """A picture of one colour, ``#rrggbb``."""
    return encode_index_png(IndexImage(np.zeros(_SWATCH_HW, np.uint8), bytes.fromhex(color[1:])))


def without_addresses(markdown: str) -> str:
    """A guide as it was before its pictures had addresses: two such texts can be compared."""
    return _PICTURE.sub(rf"![\1]({_TO_COME})", markdown)


def with_pictures(markdown: str, address_of: Callable[[str], str | None]) -> str:
    """The guide with the addresses of its pictures, by colour; one without an address is left out."""

    def placed(found: re.Match[str]) -> str:
        address = address_of(found[1])
        return "" if address is None else f"![{found[1]}]({address})"

    return _PICTURE.sub(placed, markdown)


def colors_of(markdown: str) -> list[str]:
    """The colours that a guide shows, each once, in their order."""
    return list(dict.fromkeys(found[1] for found in _PICTURE.finditer(markdown)))


def annotation_guide(classes: ClassTable) -> str:
    """What an annotator has to know: the labels, what is left uncovered, what the pictures mean, how to finish."""
    return "\n".join([
        MARK, "", "# How to correct these masks", "",
        "## How to finish", "",
        "1. Correct what is wrong: draw with *Shape*, not with *Track*. Masks, polygons, rectangles and ellipses are"
        " all read.",
        "2. Where a frame's issue is right as the masks are, resolve the issue: that says that you looked. A model's"
        " mask that nobody touched or looked at never replaces a label.",
        "3. Set the job to **completed**: only completed jobs are taken over. Delete a frame only if it must not be"
        " used at all.", "",
        *_labels(classes), "", *_uncovered(classes), "",
        "## What you see", "",
        "- Every mask was drawn by annoloop. Those marked *AUTO* come from a model: beside a label's own masks they are"
        " what the model would add, to be kept or deleted. Correct, relabel, delete, or draw new ones. What you do not"
        " touch comes back exactly as it is.",
        "- The pictures beside a frame: `1 labels` are the present labels, `2 prediction` is what the model says, and"
        " `3 errors` is where the two differ: *false negative* (missed: labelled, not found),"
        " *false positive* (invented: found, not labelled) and *confused* (another class). An image without labels"
        " has the prediction alone.",
        "- An issue is a small square at a corner of an area where they differ most. It says how many pixels, and both"
        " classes. Decide which one is right; it is resolved by itself when the area was changed.",
        "- Where two masks overlap, the upper one counts (`z-order`).",
        "",
    ])  # fmt: skip


def review_guide() -> str:
    """What a reviewer has to know: how to answer, what the answers mean, how to finish."""
    return "\n".join([
        MARK, "", "# Is the model right here?", "",
        "Each *region* is a place where the model surely contradicts the label. `becomes` says what the model would"
        " make of it, and what it is now; the picture `region NUMBER` beside the frame shows it from near, before and"
        " after.", "",
        "## How to answer", "",
        "1. Open the job in the workspace **Attribute annotation** (the list at the top right).",
        "2. *Tab* goes to the next region, *Shift+Tab* back. The digits answer, as the list beside the frame numbers"
        " them: **accept** (the model is right: the region becomes what it says), **reject** (the label is right: you"
        " are not asked again), **wrong too** (neither is right: the image is listed for a full correction).",
        "3. Set the job to **completed**: only completed jobs are taken over.", "",
        "A region without an answer stays as it is. Do not draw or edit anything here: a frame with an edited shape is"
        " held back as a whole.",
        "",
    ])  # fmt: skip


def _labels(classes: ClassTable) -> list[str]:
    rows = [
        f"| {_cell(c.name)} | {c.index} | {_swatch(c.color)} `{c.color}` |"
        for c in classes.classes
        if c.index in classes.drawn_indices
    ]
    return [
        "## Labels", "", "| label | index | colour |", "|---|---|---|", *rows,
        f"| {IGNORE_LABEL} | {classes.ignore_index} | {_swatch('#ffffff')} `#ffffff` |", "",
        f"`{IGNORE_LABEL}` is for pixels that nobody can decide: they are left out of training and of the score.",
    ]  # fmt: skip


def _uncovered(classes: ClassTable) -> list[str]:
    if classes.keeps_uncovered:
        rule = "keep the class that they had before"
    elif classes.background_index is None:
        rule = "are ignored: draw every class"
    else:
        rule = f"are **{_cell(str(classes.background))}**: it has no label and is never drawn"
    return [f"Pixels that no mask covers {rule}."]


def _swatch(color: str) -> str:
    return f"![{color}]({_TO_COME})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
