"""Which files of a tree are images, and which are their masks: found by names, whatever the folders are called.

Names in, pairings out; not here: which of several is taken (``discovery.py``), and a look at pixels (``file_kinds``).
The fact to know: a pairing is two folders with what stands around a shared stem in both names; the word for a split,
in a folder or a name, is ``WORD``, and what both sides have in common below their folders belongs to the stem.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from annoloop.data.layouts.name_patterns import Pattern, SplitName, cores, natural, settled, split_at, split_in, tokens

WORD = "\x1e"
"""Stands for the word of a split: no folder has it in its name."""

JOINT = "\x1f"
"""Stands for the last ``/`` of a name where each sample has a folder of its own, whose name is then the stem."""

Parts = tuple[str, ...]
Key = tuple[SplitName | None, str, str]
"""Split by the folders of one side, folders below, stem."""

_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""What no name in annoloop.yaml has: control characters, and bytes that are no text."""

_TRIED_IMAGES = 24
_TRIED_SPANS = 60
_HITS_KEPT = 40
_TRIED_NAMES = 2000
_TRIED_FOLDERS = 40
_ALL_PARTNERS = 120
_MOST_PARTNERS = 40
_MOST_NEAR = 200
_RIVAL = 0.05


@dataclass(frozen=True, slots=True)
class Where:
    """A folder by its parts, the split that they tell, the word for it, and which part has it."""

    parts: Parts
    split: SplitName | None
    word: str
    at: int

    @classmethod
    def of(cls, folder: str) -> Where:
        """A folder by its name with ``/``; empty for the top."""
        parts = tuple(folder.split("/")) if folder else ()
        at = split_at(parts)
        if at is None:
            return cls(parts, None, "", -1)
        found = split_in(parts[at])
        assert found is not None
        split, start, end = found
        return cls(parts, split, parts[at][start:end], at)

    def template(self, count: int) -> Parts:
        """The first ``count`` parts with ``WORD`` for the word of the split."""
        parts = self.parts[:count]
        if not 0 <= self.at < count:
            return parts
        found = split_in(parts[self.at])
        assert found is not None
        _, start, end = found
        name = parts[self.at]
        return (*parts[: self.at], f"{name[:start]}{WORD}{name[end:]}", *parts[self.at + 1 :])


@dataclass(frozen=True, slots=True)
class Pairing:
    """Folders of images and of masks, and how their names are made; ``WORD`` stands for that of a split."""

    images: Parts
    masks: Parts
    pattern: Pattern

    @property
    def image_set(self) -> str:
        """The images in words: ``images/*.jpg``."""
        return _in_words(self.images, self.pattern.image_prefix, self.pattern.image_suffix)

    @property
    def mask_set(self) -> str:
        """The masks in words: ``masks/*_mask.png``."""
        return _in_words(self.masks, self.pattern.mask_prefix, self.pattern.mask_suffix)


def _in_words(folder: Parts, prefix: str, suffix: str) -> str:
    return "/".join((*folder, f"{prefix}*{suffix}")).replace(WORD, "*").replace(JOINT, "/")


@dataclass(frozen=True, slots=True)
class Paired:
    """What a pairing finds: names of images and of masks by their keys, and the images that have a mask."""

    pairing: Pairing
    images: Mapping[Key, str]
    masks: Mapping[Key, str]
    pairs: frozenset[Key] = field(default_factory=frozenset)

    def mask_of(self, key: Key) -> str:
        """The name of an image's mask."""
        return self.masks[_mask_key(self.pairing, key)]


class Pictures:
    """The picture files of a tree by their folders."""

    def __init__(self, names: Iterable[str], suffixes: tuple[str, ...], *, by_sample: bool = False) -> None:
        """Of names relative to the top, with ``/``; ``by_sample``: the last folder of each is part of its name."""
        folders: dict[str, list[str]] = defaultdict(list)
        fitting = (name for name in names if name.lower().endswith(suffixes))
        self.names = [name for name in fitting if not _UNWRITABLE.search(name)]
        self.suffixes, self.by_sample = suffixes, by_sample
        for name in self.names:
            folder, slash, file = name.rpartition("/")
            if by_sample and slash:
                folder, _, sample = folder.rpartition("/")
                file = f"{sample}{JOINT}{file}"
            folders[folder].append(file)
        self.folders = {folder: sorted(files) for folder, files in sorted(folders.items())}
        self.where = {folder: Where.of(folder) for folder in self.folders}
        self._texts: dict[str, _Text] = {}
        self._found: dict[tuple[Parts, str, str], dict[Key, str]] = {}
        self._by_template: dict[int, dict[Parts, list[str]]] = {}

    @property
    def count(self) -> int:
        """How many files."""
        return sum(map(len, self.folders.values()))

    def text(self, folder: str) -> _Text:
        """The names of a folder laid out for searching."""
        if folder not in self._texts:
            self._texts[folder] = _Text(self.folders[folder])
        return self._texts[folder]

    def below(self, template: Parts) -> list[str]:
        """The folders of a template, and those below them."""
        count = len(template)
        if count not in self._by_template:
            groups = self._by_template[count] = defaultdict(list)
            for folder, where in self.where.items():
                if len(where.parts) >= count:
                    groups[where.template(count)].append(folder)
        return self._by_template[count].get(template, [])

    def endings(self, template: Parts) -> list[str]:
        """The endings, as ``.jpg``, of the files in folders of a template and below."""
        names = (name for folder in self.below(template) for name in self.folders[folder])
        return sorted({f".{name.rpartition('.')[2]}" for name in names})

    def found(self, template: Parts, prefix: str, suffix: str) -> dict[Key, str]:
        """Files below folders of a template, whose names fit, by their keys."""
        asked = template, prefix, suffix
        if asked not in self._found:
            self._found[asked] = _found(self, *asked)
        return self._found[asked]

    def partners(self, folder: str) -> list[str]:
        """The folders where the masks of a folder's images may be: of many those that lie nearest."""
        if len(self.folders) <= _ALL_PARTNERS:
            return list(self.folders)
        own = self.where[folder].parts
        near = dict.fromkeys([folder, *self._by_last.get(own[-1:], ())[:_MOST_NEAR]])
        for count in range(len(own) - 1, -1, -1):
            near |= dict.fromkeys(self._under.get(own[:count], ())[:_MOST_NEAR])
        parts = {one: self.where[one].parts for one in near}
        by_end = sorted(near, key=lambda one: (-_same(own[::-1], parts[one][::-1]), len(parts[one]), one))
        by_beginning = sorted(near, key=lambda one: (-_same(own, parts[one]), len(parts[one]), one))
        return list(dict.fromkeys([*by_end[:_MOST_PARTNERS], *by_beginning[:_MOST_PARTNERS]]))

    @cached_property
    def _by_last(self) -> dict[Parts, list[str]]:
        groups: dict[Parts, list[str]] = defaultdict(list)
        for folder, where in self.where.items():
            groups[where.parts[-1:]].append(folder)
        return groups

    @cached_property
    def _under(self) -> dict[Parts, list[str]]:
        groups: dict[Parts, list[str]] = defaultdict(list)
        for folder, where in self.where.items():
            for count in range(len(where.parts)):
                groups[where.parts[:count]].append(folder)
        return groups

    @cached_property
    def largest(self) -> list[str]:
        """The folders with the most files, of every split and of every place among them some."""
        groups: dict[Parts, list[str]] = defaultdict(list)
        for folder, where in self.where.items():
            groups[where.template(len(where.parts))[:2]].append(folder)
        for members in groups.values():
            members.sort(key=lambda folder: (-len(self.folders[folder]), folder))
        ranked = [(rank, -len(self.folders[f]), f) for members in groups.values() for rank, f in enumerate(members)]
        return [folder for _, _, folder in sorted(ranked)[:_TRIED_FOLDERS]]


class _Text:
    def __init__(self, names: list[str]) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self.joined = "\n".join(["", *names, ""])
        self.words = {token for name in names for token in tokens(name)}

    def made_like(self, prefix: str, suffix: str) -> int:
        """How many names are made like this: 0, 1, or 2 for more."""
        if (prefix, suffix) not in self._counts:
            count, tried, at = 0, 0, self.joined.find(f"{suffix}\n")
            while at >= 0 and count < 2 and tried < _TRIED_NAMES:
                start = self.joined.rfind("\n", 0, at) + 1
                count += self.joined.startswith(prefix, start) and start + len(prefix) < at
                tried += 1
                at = self.joined.find(f"{suffix}\n", at + 1)
            self._counts[prefix, suffix] = count
        return self._counts[prefix, suffix]

    def holding(self, core: str) -> Iterator[tuple[str, int]]:
        """Names that hold a core between tokens, and where in them; a few."""
        at, count = self.joined.find(core), 0
        while at >= 0 and count < _HITS_KEPT:
            if _is_cut(self.joined, at) and _is_cut(self.joined, at + len(core)):
                start, end = self.joined.rfind("\n", 0, at) + 1, self.joined.find("\n", at)
                yield self.joined[start:end], at - start
                count += 1
            at = self.joined.find(core, at + 1)


def _is_cut(text: str, at: int) -> bool:
    """Whether one token ends and another begins between two characters."""
    one, other = text[at - 1], text[at]
    both_letters = one.isalpha() and other.isalpha()
    return not (both_letters or (one.isdecimal() and other.isdecimal()))


def pairings(pictures: Pictures) -> list[Paired]:
    """All pairings that a tree may mean, each direction by itself, with what they find; in no telling order."""
    hits: Counter[Pairing] = Counter()
    for folder in pictures.largest:
        for other in pictures.partners(folder):
            for pairing, count in _tried(pictures, folder, other).items():
                hits[pairing] += count
    found = [evaluated(pictures, pairing) for pairing in sorted(hits, key=repr)]
    most = max((len(one.pairs) for one in found), default=0)
    return [one for one in found if len(one.pairs) > _RIVAL * most]


def evaluated(pictures: Pictures, pairing: Pairing) -> Paired:
    """What a pairing finds in the whole tree."""
    pattern = pairing.pattern
    images = pictures.found(pairing.images, pattern.image_prefix, pattern.image_suffix)
    masks = pictures.found(pairing.masks, pattern.mask_prefix, pattern.mask_suffix)
    if pairing.images == pairing.masks and len(pattern.mask_prefix + pattern.mask_suffix) < len(
        pattern.image_prefix + pattern.image_suffix
    ):  # in one folder the longer of two names that fit decides
        taken = set(images.values())
        masks = {key: name for key, name in masks.items() if name not in taken}
    else:  # one folder may lie in the other
        taken = set(masks.values())
        if not taken.isdisjoint(images.values()):
            images = {key: name for key, name in images.items() if name not in taken}
    if _tells_split(pairing.images) == _tells_split(pairing.masks):
        pairs = frozenset(images.keys() & masks.keys())
    else:
        pairs = frozenset(key for key in images if _mask_key(pairing, key) in masks)
    return Paired(pairing, images, masks, pairs)


def _mask_key(pairing: Pairing, key: Key) -> Key:
    return (key[0] if _tells_split(pairing.masks) else None, key[1], key[2])


def _tells_split(parts: Parts) -> bool:
    return any(WORD in part for part in parts)


def _found(pictures: Pictures, template: Parts, prefix: str, suffix: str) -> dict[Key, str]:
    """Files below folders of a template, whose names fit, by their keys."""
    found: dict[Key, str] = {}
    count = len(template)
    tells = _tells_split(template)
    for folder in pictures.below(template):
        where = pictures.where[folder]
        split = where.split if tells else None
        below = "/".join(where.parts[count:])
        start, end = prefix.replace(WORD, where.word), suffix.replace(WORD, where.word)
        at, cut, above = len(start), -len(end), f"{folder}/" if folder else ""
        for file in pictures.folders[folder]:
            if file.endswith(end) and file.startswith(start) and len(file) > at - cut:
                found[split, below, file[at:cut]] = above + file
    return found


def _same(one: Parts, other: Parts) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _tried(pictures: Pictures, folder: str, other: str) -> Counter[Pairing]:
    """The pairings that some images of one folder suggest with the files of another."""
    here, there = pictures.where[folder], pictures.where[other]
    if there.split is not None and there.split != here.split:
        return Counter()
    below = _same(here.parts[::-1], there.parts[::-1])
    images, masks = here.template(len(here.parts) - below), there.template(len(there.parts) - below)
    files = pictures.folders[folder]
    step = max(1, len(files) // _TRIED_IMAGES)
    found: Counter[Pairing] = Counter()
    for name in files[::step][: _TRIED_IMAGES + 1]:
        for pattern in set(_patterns(name, pictures.text(folder), pictures.text(other), by_sample=pictures.by_sample)):
            found[Pairing(images, masks, _without_word(pattern, here.word))] += 1
    most = max(found.values(), default=0)
    return Counter({pairing: count for pairing, count in found.items() if count > 0.1 * most})


def _patterns(name: str, own: _Text, text: _Text, *, by_sample: bool) -> Iterator[Pattern]:
    """What stands around a stem that an image's name shares with names of a text, and the image's own with others."""
    stem, dot, ending = name.rpartition(".")
    known = [token in text.words for token in tokens(stem)]
    for tried, (start, end) in enumerate(_spans(stem, known)):
        if tried >= _TRIED_SPANS:
            return
        found = False
        for other, at in text.holding(stem[start:end]):
            rest = other[at + end - start :]
            if "." in rest and (own is not text or other != name):
                pattern = settled(Pattern(name[:start], f"{stem[end:]}{dot}{ending}", other[:at], rest))
                alike = own.made_like(pattern.image_prefix, pattern.image_suffix)
                if alike == 1 and own.made_like("", f"{dot}{ending}") > 1:
                    continue  # a series of one among many is chance
                if alike and _is_whole(pattern, by_sample=by_sample) and not (own is text and pattern.is_numbering):
                    yield pattern
                    found = found or alike > 1
        if found:
            return  # shorter ones are parts of this, or of names that only begin alike


def _is_whole(pattern: Pattern, *, by_sample: bool) -> bool:
    """Whether the folder of a sample is what both names begin with, where it is part of them."""
    whole = JOINT in pattern.image_suffix and JOINT in pattern.mask_suffix
    return not by_sample or (whole and not pattern.image_prefix and not pattern.mask_prefix)


def _spans(stem: str, known: list[bool]) -> Iterator[tuple[int, int]]:
    """Where a shared stem may begin and end: all its tokens occur on the other side."""
    parts = tokens(stem)
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part))
    unknown = [starts[i] for i, there in enumerate(known) if not there]
    for start, end in cores(stem):
        if not any(start <= at < end for at in unknown):
            yield start, end


def _without_word(pattern: Pattern, word: str) -> Pattern:
    """The same with ``WORD`` for the word of the split, where it is a token of its own."""
    if not word:
        return pattern
    token = re.compile(rf"(?<![^\W\d_]){re.escape(word)}(?![^\W\d_])")
    parts = (pattern.image_prefix, pattern.image_suffix, pattern.mask_prefix, pattern.mask_suffix)
    return Pattern(*(token.sub(WORD, part) for part in parts))


def in_order(names: Iterable[str]) -> list[str]:
    """Names with their numbers by size."""
    return sorted(names, key=lambda name: (natural(name), name))
