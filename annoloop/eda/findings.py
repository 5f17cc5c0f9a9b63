"""What can be wrong with data, kind by kind: how serious it is and what to do about it.

Knows no files.  The fact to know: this is the one list for ``init``, ``doctor``, ``eda`` and ``retrain``; a fault is
surely wrong and ends ``doctor`` with 9, a remark is worth a look, and the order is that in which people are shown them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["fault", "remark"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How serious findings of one kind are, and what to do about them."""

    severity: Severity
    advice: str


KINDS: Mapping[str, Kind] = {
    "leak": Kind("fault", "take the image out of one of the two splits, or the scores are too good"),
    "near leak": Kind("fault", "look at both; take one out, or the scores are too good"),
    "contradicting labels": Kind("fault", "keep the better mask and remove the other pair"),
    "unreadable image": Kind("fault", "fetch the file again; until then take image and mask out"),
    "unreadable mask": Kind("fault", "fetch the file again, or have it labelled again"),
    "colour mask": Kind("fault", "convert its colours to class indices"),
    "palette confusion": Kind("fault", "map these values back to class indices"),
    "black and white mask": Kind("fault", "init --values 255=1 says what 255 means; without, it means ignore"),
    "unknown index": Kind("fault", "add the class to annoloop.yaml, or mend the mask"),
    "size mismatch": Kind("fault", "export the mask at the image's size; look for an EXIF rotation"),
    "all ignored": Kind("fault", "label it, or move the image to the pool"),
    "missing image": Kind("fault", "fetch it, or take the line out of the list"),
    "missing mask": Kind("fault", "label it, or move the image to the pool"),
    "mask without image": Kind("fault", "fetch the image, or remove the mask"),
    "duplicate stem": Kind("fault", "keep one of the two images; only one is used"),
    "empty split": Kind("fault", "mend data.splits in annoloop.yaml, or remove the split there"),
    "class not in train": Kind("fault", "move images that hold it to train: no model can learn it"),
    "class nowhere": Kind("fault", "label some of it, or remove it from annoloop.yaml; retrain refuses"),
    "border frame": Kind("remark", "give it the class of what is seen there, or ignore if nothing is"),
    "speck": Kind("remark", "erase it if it is a slip of the hand"),
    "hole": Kind("remark", "fill it if it is a slip of the hand"),
    "all background": Kind("remark", "check that nothing was forgotten"),
    "duplicate": Kind("remark", "keep one of the two; it only weighs double"),
    "near duplicate": Kind("remark", "keep one of the two, unless small things differ"),
    "other suffix": Kind("remark", "rename or convert it, or set data.image_suffix"),
}
"""The most serious first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd: the file (or split, or class), what it is, and what to do.

    ``sample_id`` is that of the image to look at, ``box_ltrb`` where on it, in px, half-open; ``other_id`` is the
    image that it is a copy of.
    """

    kind: str
    severity: Severity
    where: str
    message: str
    advice: str
    sample_id: str | None = None
    box_ltrb: tuple[int, int, int, int] | None = None
    other_id: str | None = None


def finding(
    kind: str,
    where: object,
    message: str,
    *,
    sample_id: str | None = None,
    box_ltrb: tuple[int, int, int, int] | None = None,
    other_id: str | None = None,
) -> Finding:
    """A finding of one of ``KINDS``."""
    about = KINDS[kind]
    return Finding(kind, about.severity, str(where), message, about.advice, sample_id, box_ltrb, other_id)


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The most serious first; of one kind in the order in which they came."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda one: order[one.kind])
