"""The layout of a data set that somebody else made: which of the pairings in a tree is taken, and why.

Not here: how pairings are found (``pairings.py``), splits (``layout_splits.py``).  The fact to know: the same tree
gives the same layout every time; what decides is, in this order: what the pixels are, names that speak of instances or
colours, the number of images with a mask, train ids, the newer version, the first name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import PurePosixPath

from annoloop.data.layouts.file_kinds import Kind, Seen
from annoloop.data.layouts.name_patterns import is_second_choice, natural, says_mask
from annoloop.data.layouts.pairings import JOINT, Key, Paired, Pictures, evaluated, pairings
from annoloop.data.layouts.seen_files import seen
from annoloop.data.mask_formats import JPEG_SUFFIXES, MASK_SUFFIXES

Look = Callable[[str], Seen]

_LOOKED_AT = 3
_FEW = 0.1
_PAIRED = 0.5
_FEWEST_SAMPLES = 2
_MOSTLY = 0.9
_WORDS = 0.6
"""What the words of a name weigh against how flat the pixels are, which is 0 … 1."""
_KIND_RANK: dict[Kind, int] = {"index": 0, "lossy": 1, "colour": 2, "wide": 3, "unreadable": 4, "photo": 5}
_KIND_WORDS: dict[Kind, str] = {
    "index": "class indices",
    "lossy": "JPEG, lossy",
    "colour": "colours",
    "wide": "16 bit",
    "unreadable": "cannot be read",
    "photo": "photographs",
}
_VERSION = re.compile(r"(?i)(?<![a-z])v?(\d+(?:\.\d+)+|(?<=v)\d+)")
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A pairing that was taken: what it finds, what its masks are, images of other suffixes, and what to tell."""

    paired: Paired
    kind: Kind
    more: tuple[Paired, ...]
    notes: tuple[str, ...]
    scattered: tuple[str, ...] = ()
    """Sets like these in folders of their own, with as many images with a mask or more: one of many was taken."""

    @property
    def images(self) -> dict[Key, str]:
        """All images, those without a mask among them; of two with one key both suffixes are in the layout."""
        return {
            key: name.replace(JOINT, "/")
            for one in (*reversed(self.more), self.paired)
            for key, name in one.images.items()
        }

    @property
    def pairs(self) -> dict[Key, str]:
        """The masks of images that have one."""
        return {key: one.mask_of(key).replace(JOINT, "/") for one in (*self.more, self.paired) for key in one.pairs}


@dataclass(frozen=True, slots=True)
class _Candidate:
    paired: Paired
    kind: Kind
    of_photographs: bool
    """Whether its images look like photographs."""

    @property
    def image_set(self) -> str:
        return self.paired.pairing.image_set

    @property
    def mask_set(self) -> str:
        return self.paired.pairing.mask_set

    @property
    def rank(self) -> tuple[object, ...]:
        """Lower is better; every part is a rule of ``_REASONS``."""
        name = self.mask_set
        versions = [tuple(int(n) for n in found.split(".")) for found in _VERSION.findall(name)]
        newest = max(versions, default=())
        return (
            not self.of_photographs,
            _KIND_RANK[self.kind],
            PurePosixPath(name).suffix.lower() not in (*MASK_SUFFIXES, *JPEG_SUFFIXES),
            is_second_choice(name) or "rgb" in name.lower(),
            -len(self.paired.pairs),
            "trainid" not in name.lower(),
            [-number for number in newest] or [0],
            natural(name),
            name,
        )

    @property
    def image_rank(self) -> tuple[object, ...]:
        name = self.image_set
        return (-len(self.paired.pairs), is_second_choice(name), -says_mask(name) < 0, natural(name), name)


_REASONS = (
    "photographs",
    "{kind}, not {other}",
    "a format that can be written",
    "the other names speak of instances, colours or the like",
    "the most images with a mask",
    "train ids",
    "the newer version",
    "the first by name",
    "the first by name",
)


def choose(pictures: Pictures, look: Look, *, images: str = "", masks: str = "") -> Choice | None:
    """The layout of a tree, or None where no image has a mask.

    Args:
        look: what a file, by its name, looks like.
        images: a part of the name of the image set that is wanted, as ``.jpg`` or ``images/``; empty: any.
        masks: the same for masks.
    """
    taken = _chosen(pictures, look, images=images, masks=masks)
    if taken is None:  # perhaps each sample has a folder of its own, with the same names in all of them
        by_sample = Pictures(pictures.names, pictures.suffixes, by_sample=True)
        taken = _chosen(by_sample, lambda name: look(name.replace(JOINT, "/")), images=images, masks=masks)
    return taken


def _chosen(pictures: Pictures, look: Look, *, images: str, masks: str) -> Choice | None:
    found = pairings(pictures)
    candidates = [one for paired in found if (one := _candidate(paired, look)) is not None]
    wanted = [one for one in candidates if fits(one.image_set, images) and fits(one.mask_set, masks)]
    if not wanted:
        return None
    most = max(len(one.paired.pairs) for one in wanted)
    wanted.sort(key=lambda one: (len(one.paired.pairs) <= _FEW * most, one.rank, one.image_rank))
    best = wanted[0]
    if pictures.by_sample and len(best.paired.pairs) < _FEWEST_SAMPLES:
        return None
    more = _other_suffixes(pictures, best, look, images)
    candidates = [one for one in candidates if one.image_set not in {other.image_set for other in more}] + more
    left = _left(pictures, candidates)
    if len(left) > _MOSTLY * pictures.count and not (images or masks):
        return None  # what was found is chance
    notes = [
        *_on_masks(best, candidates, more, asked=bool(masks)),
        *_on_images(best, candidates, more),
        *([f"{len(left)} pictures belong to no image or mask; {seen(left)}"] if left else []),
    ]
    scattered = () if images or masks else tuple(_scattered(best, candidates))
    return Choice(best.paired, best.kind, tuple(one.paired for one in more), tuple(notes), scattered)


def mask_sets(pictures: Pictures, look: Look) -> list[str]:
    """The image and mask sets that there are to choose from, in words."""
    found = [one for paired in pairings(pictures) if (one := _candidate(paired, look)) is not None]
    return sorted({f"{one.image_set} with {one.mask_set}" for one in found})


def fits(name: str, wanted: str) -> bool:
    """Whether a set is the one that a person means: by a part of its name, or by a pattern with ``*``."""
    low, part = name.lower(), wanted.lower().removeprefix("./")
    return part in low or fnmatch(low, part) or fnmatch(low, f"*{part}")


def _candidate(paired: Paired, look: Look) -> _Candidate | None:
    """A pairing whose one side looks like masks of the other; None for two sets of photographs, or the other way."""
    tried = _some(paired)
    if not tried:
        return None
    of_masks = [look(paired.mask_of(key)) for key in tried]
    of_images = [look(paired.images[key]) for key in tried]
    kind = Counter(sorted(one.kind for one in of_masks)).most_common(1)[0][0]
    if kind == "photo":
        return None
    pairing = paired.pairing
    like = (sum(m.like_a_mask for m in of_masks) - sum(i.like_a_mask for i in of_images)) / len(tried)
    words = says_mask(pairing.mask_set) - says_mask(pairing.image_set)
    shorter = len(pairing.pattern.image_suffix) <= len(pairing.pattern.mask_suffix)
    if like + _WORDS * words + 0.01 * shorter <= 0:
        return None
    if all(one.kind in ("index", "wide") for one in of_images) and words <= 0 and like < _FEW:
        return None  # two sets of masks
    of_photographs = sum(one.kind == "photo" for one in of_images) * 2 >= len(tried)
    return _Candidate(paired, kind, of_photographs)


def _other_suffixes(pictures: Pictures, best: _Candidate, look: Look, wanted: str) -> list[_Candidate]:
    """Images beside the best ones that differ from them in nothing but the format that their suffix names."""
    own = best.paired.pairing
    found = []
    for ending in pictures.endings(own.images):
        suffix = _bare(own.pattern.image_suffix) + ending
        pairing = replace(own, pattern=replace(own.pattern, image_suffix=suffix))
        same_name = own.images == own.masks and pairing.pattern.is_numbering
        if suffix == own.pattern.image_suffix or same_name or not fits(pairing.image_set, wanted):
            continue
        paired = evaluated(pictures, pairing)
        if len(paired.pairs) > _PAIRED * len(paired.images):
            photographs = sum(look(paired.images[key]).kind == "photo" for key in _some(paired)) > 0
            if photographs == best.of_photographs:
                found.append(_Candidate(paired, best.kind, photographs))
    return sorted(found, key=lambda one: one.image_rank)


def _some(paired: Paired) -> list[Key]:
    """A few keys of pairs, spread over all of them."""
    keys = sorted(paired.pairs, key=repr)
    return [keys[len(keys) * i // _LOOKED_AT] for i in range(min(_LOOKED_AT, len(keys)))]


def _bare(suffix: str) -> str:
    return suffix[: -len(PurePosixPath(f"x{suffix}").suffix)]


def _on_masks(
    best: _Candidate, candidates: Sequence[_Candidate], more: Sequence[_Candidate], *, asked: bool
) -> list[str]:
    """One line on the mask sets that the images also have."""
    same = [best.image_set, *(one.image_set for one in more)]
    rivals = {one.mask_set: one for one in sorted(candidates, key=lambda c: c.rank) if one.image_set in same}
    rivals[best.mask_set] = best
    if len(rivals) < 2:
        return []
    ranked = sorted(rivals.values(), key=lambda one: (one is not best, one.rank))
    names = _told([one.mask_set for one in ranked])
    listed = [
        f"{name} ({len(one.paired.pairs)} masks, {_KIND_WORDS[one.kind]})"
        for name, one in zip(names, ranked, strict=True)
    ]
    rest = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    why = next(i for i, (a, b) in enumerate(zip(best.rank, ranked[1].rank, strict=True)) if a != b)
    reason = _REASONS[why].format(kind=_KIND_WORDS[best.kind], other=_KIND_WORDS[ranked[1].kind])
    reason = "as asked" if asked else reason
    alike = all(one.paired.pairs == best.paired.pairs for one in ranked)
    what = f"each image has {len(ranked)} masks" if alike else f"{len(ranked)} mask sets"
    return [f"{what}: {', '.join(listed[:_SHOWN])}{rest}; took {names[0]} ({reason}); --masks to choose"]


def _on_images(best: _Candidate, candidates: Sequence[_Candidate], more: Sequence[_Candidate]) -> list[str]:
    """One line on the image sets that the masks also have."""
    same = [
        one
        for one in candidates
        if one.mask_set == best.mask_set and one not in (best, *more) and one.of_photographs == best.of_photographs
    ]
    if not same:
        return []
    ranked = [best, *sorted(same, key=lambda one: one.image_rank)]
    listed = [f"{one.image_set} ({len(one.paired.pairs)} with a mask)" for one in ranked]
    rest = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [f"{len(ranked)} image sets: {', '.join(listed[:_SHOWN])}{rest}; took {best.image_set}; --images to choose"]


def _left(pictures: Pictures, candidates: Iterable[_Candidate]) -> list[str]:
    """Pictures that are neither images nor masks of any set."""
    known = {name for one in candidates for names in (one.paired.images, one.paired.masks) for name in names.values()}
    left = [f"{folder}/{name}" if folder else name for folder, names in pictures.folders.items() for name in names]
    return [name.replace(JOINT, "/") for name in left if name not in known]


def _scattered(best: _Candidate, candidates: Iterable[_Candidate]) -> list[str]:
    """Sets that differ from the best one in nothing but a folder above, where these hold as much as it, or more."""
    own = best.paired.pairing
    taken = set(best.paired.images.values())
    found: dict[str, int] = {}
    for one in candidates:
        pairing = one.paired.pairing
        alike = (pairing.pattern, pairing.images[-1:], pairing.masks[-1:]) == (
            own.pattern,
            own.images[-1:],
            own.masks[-1:],
        )
        apart = pairing.images[:-1] != own.images[:-1] and taken.isdisjoint(one.paired.images.values())
        if alike and apart:
            found[f"{one.image_set} with {one.mask_set}"] = len(one.paired.pairs)
    return sorted(found, key=natural) if sum(found.values()) >= len(best.paired.pairs) else []


def _told(names: Sequence[str]) -> list[str]:
    """Names of sets without the folders that all of them have in common."""
    folders = [name.split("/")[:-1] for name in names]
    count = 0
    while all(len(parts) > count and parts[count] == folders[0][count] for parts in folders):
        count += 1
    return ["/".join(name.split("/")[count:]) for name in names]
