"""One image and its mask, each read and decoded once: what they tell, and what is wrong with them by themselves.

Runs in worker processes, so that what comes back is small.  The fact to know: a file that cannot be read is a
finding like any other and never ends the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annoloop.data.config import DataConfig
from annoloop.data.images import decode_index_png, glance, read_bytes, sha256
from annoloop.data.mmseg_folders import Sample, other_size, out_of_range, to_label_map
from annoloop.eda.findings import Finding, finding
from annoloop.eda.mask_facts import MaskFacts, mask_facts
from annoloop.errors import ColourMaskError, DataError
from annoloop.masks.classes import ClassTable, LabelClass
from annoloop.masks.regions import Ints
from annoloop.metrics.perceptual_hash import SIDE, Look, look

_WHITE = 255
_LEAST_STEP = 20
"""Who stretches indices to be seen multiplies by more than this."""

Colors = npt.NDArray[np.int64]
"""Red, green and blue from 0 to 255, (N, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFacts:
    """One image: its size as shown, hash of its bytes, look, and mean and deviation of its grey levels (of 255)."""

    size_hw: tuple[int, int]
    sha256: str
    look: Look
    brightness: float
    contrast: float


@dataclass(frozen=True, slots=True, eq=False)
class SampleFacts:
    """One sample; ``image`` or ``mask`` is None where there is none that can be read, and ``findings`` say why."""

    sample_id: str
    split: str
    image: ImageFacts | None
    mask: MaskFacts | None
    findings: tuple[Finding, ...]


def sample_facts(sample: Sample, data: DataConfig, classes: ClassTable) -> SampleFacts:
    """Read the files of a sample; finds faults, raises none."""
    findings: list[Finding] = []
    image = mask = None
    try:
        image = _image_facts(sample)
    except DataError as error:
        findings.append(finding("unreadable image", sample.image, error.message, sample_id=sample.id))
    try:
        if sample.mask is not None:
            stored = decode_index_png(read_bytes(sample.mask), sample.mask)
            mask = mask_facts(to_label_map(stored, data, sample.mask), classes)
            size_hw = None if image is None else image.size_hw
            findings += _faults(sample, stored.palette, mask, size_hw, _Values.of(mask, data, classes))
    except ColourMaskError as error:
        findings.append(finding("colour mask", sample.mask, error.message, sample_id=sample.id))
    except DataError as error:
        findings.append(finding("unreadable mask", sample.mask, error.message, sample_id=sample.id))
    return SampleFacts(sample.id, sample.split, image, mask, tuple(findings))


def _image_facts(sample: Sample) -> ImageFacts:
    data = read_bytes(sample.image)
    seen = glance(data, sample.image, SIDE)
    return ImageFacts(seen.size_hw, sha256(data), look(seen.grey), seen.brightness, seen.contrast)


def _faults(
    sample: Sample, palette: bytes | None, mask: MaskFacts, size_hw: tuple[int, int] | None, values: _Values
) -> Iterator[Finding]:
    """What is wrong with a mask that can be read."""

    def fault(kind: str, message: str) -> Finding:
        return finding(kind, sample.mask, message, sample_id=sample.id)

    confused = None
    if not values.are_named:
        confused = (None if palette is None else values.renumbered(palette)) or values.of_another_kind()
    if not values.are_named and values.black_and_white():
        yield fault("black and white mask", "holds only 0 and 255: an object that is white on black")
    elif confused is not None:
        yield fault("palette confusion", confused)
    elif mask.unknown:
        yield fault("unknown index", out_of_range(mask.unknown, values.classes))
    elif mask.ignored_px == mask.size_hw[0] * mask.size_hw[1]:
        yield fault("all ignored", "every pixel is ignored")
    elif mask.present.tolist() == [values.classes.background_index] and not mask.ignored_px:
        yield fault("all background", f"every pixel is {values.classes.background}")
    if size_hw is not None and mask.size_hw != size_hw:
        yield fault("size mismatch", other_size(mask.size_hw, size_hw))


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """The values of a mask as they are stored, and whether they look like something else than class indices.

    ``used`` int64 (N,): all but those that mean ignore; ``first`` is the stored value of class 0; ``are_named``:
    annoloop.yaml says what each stored value means, and nothing has to be guessed.
    """

    used: Ints
    has_unknown: bool
    has_ignored: bool
    first: int
    classes: ClassTable
    are_named: bool

    @classmethod
    def of(cls, mask: MaskFacts, data: DataConfig, classes: ClassTable) -> _Values:
        first = int(data.reduce_zero_label)
        labels = np.r_[mask.present, np.array([index for index, _ in mask.unknown], np.int64)]
        return cls(labels + first, bool(mask.unknown), mask.ignored_px > 0, first, classes, bool(data.values))

    def black_and_white(self) -> bool:
        white = self.has_ignored and self.classes.ignore_index == _WHITE and self.first == 0
        return list(self.used) == ([0] if white else [0, _WHITE])

    def renumbered(self, palette: bytes) -> str | None:
        """Whether the palette shows all of them in colours of classes, but of other ones, in words."""
        entries: dict[tuple[int, ...], LabelClass] = {c.rgb: c for c in self.classes.classes}
        colors = [tuple(palette[3 * index : 3 * index + 3]) for index in self.used.tolist()]
        if not all(color in entries for color in colors):
            return None
        meant = [(index, entries[color]) for index, color in zip(self.used.tolist(), colors, strict=True)]
        other = [f"{index} in the colour of {one.name}" for index, one in meant if one.index + self.first != index]
        return f"its palette shows {', '.join(other[:5])}: indices were numbered anew" if other else None

    def of_another_kind(self) -> str | None:
        """Whether they are grey levels of colours, or indices stretched for the eye, in words."""
        if not self.has_unknown:
            return None
        shown = ", ".join(map(str, self.used[:6].tolist())) + (", …" if self.used.size > 6 else "")
        for levels, what in self._explanations():
            if np.isin(self.used, levels).all():
                return f"holds {shown}: {what}"
        return None

    def _explanations(self) -> Iterator[tuple[Ints, str]]:
        """Sets of values that masks hold by mistake, and how they come about; the most telling first."""
        count = len(self.classes)
        own = np.array([c.rgb for c in self.classes.classes])
        even = np.linspace(0, _WHITE, count)
        step = int(np.gcd.reduce(self.used))
        yield _grey(own), "the grey levels of the classes' colours; it was converted from colours to grey"
        yield np.r_[np.floor(even), np.rint(even)].astype(np.int64), "indices stretched from black to white to be seen"
        yield _grey(_voc_colors()), "the grey levels of the PASCAL VOC colours; it was converted from colours to grey"
        if step >= _LEAST_STEP:
            yield step * np.arange(count), f"indices times {step} to be seen"


def _grey(colors: Colors) -> npt.NDArray[np.int64]:
    """Grey levels as ITU-R 601-2 has them, which is how image libraries turn colours to grey, rounded either way."""
    exact = colors @ np.array([0.299, 0.587, 0.114])
    return np.unique(np.r_[np.floor(exact), np.rint(exact)]).astype(np.int64)


def _voc_colors(count: int = 21) -> Colors:
    """The colours of the PASCAL VOC development kit: the bits of the index, spread over three channels."""
    index = np.arange(count)
    shifts = np.arange(8)
    bits = [((index[:, None] >> (3 * shifts + channel)) & 1) << (7 - shifts) for channel in range(3)]
    return np.stack([channel.sum(axis=1) for channel in bits], axis=1)
