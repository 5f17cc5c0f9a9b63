"""What is odd only beside the rest of the data: specks, holes and frames that are unusual, copies, missing classes.

Knows facts and sums, no files.  The fact to know: rings have honest holes and distant objects are honestly small,
so a small thing is odd only where its class is rarely like that; and what most masks share is said once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from annoloop.data.mmseg_folders import UNLABELLED, Sample
from annoloop.data.storage import Location
from annoloop.eda.findings import Finding, finding
from annoloop.eda.mask_facts import SPECK_PX, Frame, Spot, size_bin
from annoloop.eda.sample_facts import SampleFacts
from annoloop.eda.tally import Tally
from annoloop.masks.classes import ClassTable
from annoloop.metrics.perceptual_hash import Look, Looks

RARE = 0.1
"""Specks and holes are odd if at most this share of the class's components is so small or has a hole."""

SMALLER = 20
"""So many times smaller than usual for its class is odd."""

_FEW_MASKS = 8
_IGNORE_IS_USUAL = 0.2
_SINGLE = ("border frame", "speck", "hole", "all background")
"""What is said once where more than half of the masks are like that."""


@dataclass(frozen=True, slots=True)
class Slips:
    """What in one mask may be slips of the hand."""

    sample: Sample
    specks: tuple[Spot, ...]
    holes: tuple[Spot, ...]
    frame: Frame | None


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """What tells whether a readable image is a copy of another; ``fingerprint`` is its mask's, None for none."""

    sample: Sample
    sha256: str
    look: Look
    fingerprint: int | None


def slips_of(sample: Sample, facts: SampleFacts) -> Slips | None:
    """What is to be kept of a mask until all have been seen; None for most."""
    mask = facts.mask
    if mask is None or not (mask.specks or mask.holes or mask.frame):
        return None
    return Slips(sample, mask.specks, mask.holes, mask.frame)


def copy_of(sample: Sample, facts: SampleFacts) -> Copy | None:
    """What is to be kept of an image; None if it cannot be read."""
    if facts.image is None:
        return None
    return Copy(sample, facts.image.sha256, facts.image.look, None if facts.mask is None else facts.mask.fingerprint)


def odd_slips(kept: Iterable[Slips], whole: Tally, classes: ClassTable) -> Iterator[Finding]:
    """Specks, holes and border frames, one finding per mask, kind and class."""
    for one in kept:
        if one.frame is not None:
            value = classes.label_of(one.frame.value) if _is_known(one.frame.value, classes) else one.frame.value
            message = f"a frame of {value}, {one.frame.width_px} px wide, runs along the whole border"
            yield finding("border frame", one.sample.mask, message, sample_id=one.sample.id)
        yield from _odd_spots("speck", one.sample, one.specks, whole, classes)
        yield from _odd_spots("hole", one.sample, one.holes, whole, classes)


def said_once(findings: Sequence[Finding], whole: Tally) -> list[Finding]:
    """The findings, but what more than half of the masks share is one of them, and honest ignored areas are none."""
    masks = defaultdict(set)
    for one in findings:
        masks[one.kind].add(one.where)
    usual = {kind for kind in _SINGLE if len(masks[kind]) > max(_FEW_MASKS, whole.labelled / 2)}
    ignored = whole.with_ignored - len(masks["black and white mask"])
    dropped = {"black and white mask"} if ignored > _IGNORE_IS_USUAL * whole.labelled else set()
    rest = [one for one in findings if one.kind not in usual | dropped]
    for kind in sorted(usual):
        first = next(one for one in findings if one.kind == kind)
        message = f"{len(masks[kind])} of {whole.labelled} masks: {first.message}"
        rest.append(finding(kind, first.where, message, sample_id=first.sample_id, box_ltrb=first.box_ltrb))
    return rest


def missing_classes(by_split: Mapping[str, Tally], classes: ClassTable) -> Iterator[Finding]:
    """Classes that no mask of the training split holds, or none at all."""
    if not any(tally.labelled for tally in by_split.values()):
        return
    trains = [tally for split, tally in by_split.items() if _side(split) == "train"]
    for one in classes.classes:
        where = [split for split, tally in by_split.items() if tally.images[one.index]]
        if not where:
            yield finding("class nowhere", one.name, "no mask holds a pixel of it")
        elif any(tally.labelled for tally in trains) and not any(tally.images[one.index] for tally in trains):
            images = sum(int(by_split[split].images[one.index]) for split in where)
            message = f"no training mask holds it, but {images} of {', '.join(where)} do"
            yield finding("class not in train", one.name, message)


def copies(kept: Sequence[Copy]) -> Iterator[Finding]:
    """Images that are there twice, byte by byte or nearly: within a split, across splits, with different masks."""
    firsts: dict[str, Copy] = {}
    for one in kept:
        first = firsts.setdefault(one.sha256, one)
        if first is not one:
            yield from _exact_copy(one, first)
    yield from _near_copies(firsts.values())


def _exact_copy(one: Copy, first: Copy) -> Iterator[Finding]:
    contradicts = None not in (one.fingerprint, first.fingerprint) and one.fingerprint != first.fingerprint
    leaks = _side(one.sample.split) != _side(first.sample.split)
    if leaks:
        yield _pair("leak", one.sample, first.sample, "the same file as")
    if contradicts:
        yield _pair("contradicting labels", one.sample, first.sample, "has another mask than the same image")
    elif not leaks:
        yield _pair("duplicate", one.sample, first.sample, "the same file as")


def _near_copies(different: Iterable[Copy]) -> Iterator[Finding]:
    samples: dict[str, Sample] = {}
    sides: dict[str, dict[str, Look]] = defaultdict(dict)
    for one in different:
        samples[one.sample.id] = one.sample
        sides[_side(one.sample.split)][one.sample.id] = one.look
    looks = {side: Looks(some) for side, some in sides.items()}
    for number, (side, own) in enumerate(looks.items()):
        for earlier in list(looks)[:number]:
            for name, partner in own.partners(looks[earlier]).items():
                yield _pair("near leak", samples[name], samples[partner], "nearly the same picture as")
        for name, partner in looks[side].repeats().items():
            yield _pair("near duplicate", samples[name], samples[partner], "nearly the same picture as")


def _pair(kind: str, one: Sample, other: Sample, words: str) -> Finding:
    return finding(kind, one.image, f"{words} {other.id}", sample_id=one.id, other_id=other.id)


def _side(split: str) -> str:
    """The pool counts as training data, which it becomes."""
    return "train" if split == UNLABELLED else split


def _odd_spots(
    kind: str, sample: Sample, spots: Sequence[Spot], whole: Tally, classes: ClassTable
) -> Iterator[Finding]:
    by_class: dict[int, list[Spot]] = defaultdict(list)
    for spot in spots:
        if _is_odd(kind, spot, whole):
            by_class[spot.class_index].append(spot)
    for index, odd in by_class.items():
        sizes = ", ".join(str(spot.area_px) for spot in odd)
        count = f"{len(odd)} {kind}s" if len(odd) > 1 else f"a {kind}"
        place = "in" if kind == "hole" else "of"
        usual = f"its objects have {whole.usual_px(index):.0f} px as a rule"
        message = f"{count} {place} {classes.names[index]}: {sizes} px; {usual}"
        yield finding(kind, _mask(sample), message, sample_id=sample.id, box_ltrb=odd[0].box_ltrb)


def _is_odd(kind: str, spot: Spot, whole: Tally) -> bool:
    index = spot.class_index
    small = int(whole.sizes[index, : int(size_bin(SPECK_PX)) + 1].sum())
    alike = int(whole.holed[index]) if kind == "hole" else small
    return spot.area_px * SMALLER <= whole.usual_px(index) and alike <= RARE * whole.components[index]


def _is_known(value: int, classes: ClassTable) -> bool:
    return value < len(classes) or value == classes.ignore_index


def _mask(sample: Sample) -> Location:
    assert sample.mask is not None
    return sample.mask
