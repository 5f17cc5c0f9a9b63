"""What names of files and folders have in common: the words for splits, and what stands around a shared stem.

Text only, no files.  The fact to know: a name is cut only between its tokens (letters, digits, single other signs), so
that ``1`` is no part of ``11_mask.png``, while ``im001`` and ``mask001`` share ``001``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

SplitName = Literal["train", "val", "test", "pool"]

SPLIT_WORDS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    "pool": ("pool", "unlabelled", "unlabeled"),
}
_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_SHORT: dict[str, SplitName] = {"Tr": "train", "Va": "val", "Ts": "test", "Te": "test"}
_KINDS = r"(?:annots?|annotations?|masks?|labels?|gts?|imgs?|images?|segs?|[0-9]+)"
_WORDS = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_JOINED = re.compile(rf"(?i)^(?:(?P<first>{_WORDS})(?={_KINDS}$)|{_KINDS}(?P<last>{_WORDS})$)")
_CAMEL = re.compile(r"(?<=[a-z])(Tr|Va|Ts|Te)$")
_TOKENS = re.compile(r"[^\W\d_]+|\d+|[\W_]")
_DIGITS = re.compile(r"(\d+)")

_MASK_WORDS = re.compile(
    r"(?i)mask|label|lbl|ann(?!e)|(?<![a-z])gt|ground|truth|seg|target|manual|groundtruth|semantic|class(?!ic)"
)
_IMAGE_WORDS = re.compile(r"(?i)image|img|jpeg|photo|pict|rgb|input|scan|orig|raw|frame")
_SECOND_CHOICE = re.compile(
    r"(?i)instance|object|panoptic|colou?r|overlay|preview|viz|vis(?![a-z])|depth|disp|edge|bound|contour|heat|prob|"
    r"confid|weight|part(?![a-z])|pred|box"
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What stands before and after the stem that an image shares with its mask, in the names of both."""

    image_prefix: str
    image_suffix: str
    mask_prefix: str
    mask_suffix: str

    @property
    def is_numbering(self) -> bool:
        """Whether the two sides differ in nothing but numbers, as ``a_1.png`` and ``a_2.png`` do."""
        images, masks = (
            _DIGITS.sub("", f"{prefix}\n{suffix}")
            for prefix, suffix in ((self.image_prefix, self.image_suffix), (self.mask_prefix, self.mask_suffix))
        )
        return images == masks


def settled(pattern: Pattern) -> Pattern:
    """The same where the shared stem is as long as it can be.

    >>> settled(Pattern("2007_", "_a.jpg", "2007_", "_a.png"))
    Pattern(image_prefix='', image_suffix='.jpg', mask_prefix='', mask_suffix='.png')
    """
    (image_bare, image_end), (mask_bare, mask_end) = map(_ending, (pattern.image_suffix, pattern.mask_suffix))
    image_tokens, mask_tokens = tokens(image_bare), tokens(mask_bare)
    shared = _shared(image_tokens, mask_tokens)
    images, masks = tokens(pattern.image_prefix)[::-1], tokens(pattern.mask_prefix)[::-1]
    before = _shared(images, masks)
    return Pattern(
        "".join(images[before:][::-1]),
        "".join(image_tokens[shared:]) + image_end,
        "".join(masks[before:][::-1]),
        "".join(mask_tokens[shared:]) + mask_end,
    )


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many tokens both begin with; what separates the words after them does not count."""
    count = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    if count == len(one) == len(other):
        return count
    while count and not one[count - 1].isalnum():
        count -= 1
    return count


def _ending(suffix: str) -> tuple[str, str]:
    bare, dot, ending = suffix.rpartition(".")
    return bare, dot + ending


@cache
def split_in(name: str) -> tuple[SplitName, int, int] | None:
    """The split that a folder's name tells, and where its word stands in it.

    >>> split_in("Train"), split_in("valannot"), split_in("imagesTs"), split_in("values"), split_in("trainval")
    (('train', 0, 5), ('val', 0, 3), ('test', 6, 8), None, None)
    """
    at = 0
    found = []
    for token in _TOKENS.findall(name):
        if token.lower() in _SPLIT_OF:
            found.append((_SPLIT_OF[token.lower()], at, at + len(token)))
        at += len(token)
    if found:
        return found[0] if len({split for split, _, _ in found}) == 1 else None
    if joined := _JOINED.match(name):
        group = "first" if joined["first"] else "last"
        return _SPLIT_OF[joined[group].lower()], joined.start(group), joined.end(group)
    if camel := _CAMEL.search(name):
        return _SHORT[camel[1]], camel.start(), camel.end()
    return None


def split_at(parts: Sequence[str]) -> int | None:
    """Which of the folders of a path names a split: the last one that is nothing but its word, or else the last."""
    told = [(i, found) for i, part in enumerate(parts) if (found := split_in(part))]
    whole = [i for i, (_, start, end) in told if start == 0 and end == len(parts[i])]
    places = whole or [i for i, _ in told]
    return places[-1] if places else None


def tokens(name: str) -> list[str]:
    """The tokens of a name, which give it again when joined.

    >>> tokens("im001.ah")
    ['im', '001', '.', 'ah']
    """
    return _TOKENS.findall(name)


def cores(name: str) -> Iterator[tuple[int, int]]:
    """Where a stem may begin and end in a name without its last suffix, longest first."""
    parts = tokens(name)
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part))
    spans = [
        (starts[i], starts[j])
        for i in range(len(parts))
        for j in range(i + 1, len(parts) + 1)
        if parts[i].isalnum() and parts[j - 1].isalnum()
    ]
    yield from sorted(spans, key=lambda span: (span[0] - span[1], span[0]))


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts numbers in names by their size."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part.lower()) for part in _DIGITS.split(name) if part)


def says_mask(name: str) -> float:
    """How much the words of a path or pattern speak for masks (1), for images (-1), or for neither."""
    return float(bool(_MASK_WORDS.search(name))) - float(bool(_IMAGE_WORDS.search(name)))


def is_second_choice(name: str) -> bool:
    """Whether words tell that these are no classes but instances, colours for the eye, depth or the like."""
    return bool(_SECOND_CHOICE.search(name))
