"""The splits of a layout: from folders, above images and masks or below them, and from lists.

Names in, the section ``data`` of annoloop.yaml out; files are read for lists only.  The fact to know: a list goes
before a folder of the same split, and images in no split are told, never lost in silence.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from annoloop.data.data_section import Place
from annoloop.data.layouts.discovery import Choice
from annoloop.data.layouts.name_patterns import SPLIT_WORDS, Pattern, SplitName, split_at, split_in
from annoloop.data.layouts.pairings import JOINT, WORD
from annoloop.data.split_lists import listed_stems

_AUG = re.compile(r"(?i)^(train|training)[-_]?(aug|extra)$")
_LEAST_PAIRED = 0.5


@dataclass(frozen=True, slots=True)
class _Member:
    """An image of a split: where it lies below the split's folders, and its mask, if it has one."""

    stem: str
    image: str
    mask: str | None


@dataclass(frozen=True, slots=True)
class _Spot:
    """The folders of a split (image_dir, mask_dir, what data.splits says) and its members by stem."""

    images: str
    masks: str
    below: str
    members: Mapping[str, _Member]

    @property
    def masked(self) -> int:
        return sum(one.mask is not None for one in self.members.values())


@dataclass(frozen=True, slots=True)
class Splits:
    """Values for the section ``data``, and what to tell."""

    section: dict[str, Any]
    notes: tuple[str, ...]
    rest: Mapping[str, str]
    """Text of lists that are not there yet, by their names: train is what the lists that are there leave."""
    every: dict[str, Any]
    """The section with all images as one split, where there is a ``rest``."""


def splits_of(choice: Choice, lists: Mapping[str, str]) -> Splits:
    """Where the splits of a layout lie.

    Args:
        lists: the text of every file that may be a list, by its name below the root.
    """
    spots, outside = _by_folders(choice)
    whole = _whole(choice)
    listed = _by_lists(choice, _searched(spots, whole), lists)
    notes = list(listed.notes)
    chosen: dict[SplitName, tuple[_Spot, str | None]] = {split: (spot, None) for split, spot in spots.items()}
    chosen |= {split: (spot, name) for split, (spot, name) in listed.taken.items()}
    if not chosen and whole is not None:
        chosen = {"train": (whole, None)}
    rest: dict[str, str] = {}
    every: dict[str, Any] = {}
    if listed.taken and whole is not None and "train" not in chosen:
        name, stems = _rest(whole, listed, lists)
        if stems:
            rest, every = {name: "\n".join(stems) + "\n"}, _section(choice, {"train": (whole, None)})
            chosen["train"] = (whole, name)
            listed = replace(listed, stems=listed.stems | {whole.members[stem].image for stem in stems})
            notes.append(f"train is the {len(stems)} images that the lists leave, written as {name}")
    notes += _unused(choice, chosen, outside, listed)
    chosen, more = _without_masks_is_pool(chosen)
    return Splits(_section(choice, chosen), (*notes, *more), rest, every)


def _searched(spots: Mapping[SplitName, _Spot], whole: _Spot | None) -> dict[SplitName | None, _Spot]:
    """Where what a list names may be: by split, and all images under None."""
    found: dict[SplitName | None, _Spot] = dict(spots.items())
    if whole is not None:
        found[None] = whole
    return found


# folders


def _by_folders(choice: Choice) -> tuple[dict[SplitName, _Spot], list[str]]:
    """Splits by the folders' words, and the images that lie in none of them."""
    pairing = choice.paired.pairing
    groups: dict[tuple[SplitName, str, str, str], dict[str, _Member]] = defaultdict(dict)
    outside = []
    pairs = choice.pairs
    for key, name in choice.images.items():
        split, below, stem = key
        images = _folder_of(name, below, by_sample=JOINT in pairing.pattern.image_suffix)
        if split is not None:
            masks = "/".join(pairing.masks).replace(WORD, _word(pairing.images, images))
            member = _Member(f"{below}/{stem}" if below else stem, name, pairs.get(key))
            groups[split, images, masks, "."][member.stem] = member
            continue
        parts = below.split("/") if below else []
        at = split_at(parts)
        if at is None:
            outside.append(name)
            continue
        told = split_in(parts[at])
        assert told is not None
        front, rest = parts[: at + 1], [*parts[at + 1 :], stem]
        member = _Member("/".join(rest), name, pairs.get(key))
        groups[told[0], images, "/".join(pairing.masks), "/".join(front)][member.stem] = member
    return _largest(groups), outside


def _largest(groups: Mapping[tuple[SplitName, str, str, str], dict[str, _Member]]) -> dict[SplitName, _Spot]:
    """Of several folders of one split the one with the most masks."""
    spots: dict[SplitName, _Spot] = {}
    for split in SPLIT_WORDS:
        own = [_Spot(*key[1:], members) for key, members in sorted(groups.items()) if key[0] == split]
        if own:
            spots[split] = max(own, key=lambda spot: (spot.masked, len(spot.members)))
    return spots


def _folder_of(name: str, below: str, *, by_sample: bool) -> str:
    """The folder of a pairing's images, of one image in it."""
    folder = name.rpartition("/")[0]
    folder = folder.rpartition("/")[0] if by_sample else folder
    return folder[: len(folder) - len(below)].rstrip("/") if below else folder


def _word(template: Sequence[str], folder: str) -> str:
    """What stands in a folder where its template has ``WORD``."""
    for part, name in zip(template, folder.split("/"), strict=False):
        if WORD in part:
            start, _, end = part.partition(WORD)
            return name[len(start) : len(name) - len(end)]
    return ""


def _whole(choice: Choice) -> _Spot | None:
    """All images as one split; None where the folders are those of splits."""
    pairing = choice.paired.pairing
    if any(WORD in part for part in (*pairing.images, *pairing.masks)):
        return None
    return _top(choice)


def _top(choice: Choice) -> _Spot:
    """All images below the folders that all pairs have in common."""
    pairs = choice.pairs
    pairing = choice.paired.pairing
    common = _common([below.split("/") if below else [] for _, below, _ in pairs])
    above = "/".join(common)
    members = {}
    for key, name in choice.images.items():
        full = f"{key[1]}/{key[2]}" if key[1] else key[2]
        if not above or full.startswith(f"{above}/"):
            stem = full.removeprefix(f"{above}/") if above else full
            members[stem] = _Member(stem, name, pairs.get(key))
    return _Spot("/".join((*pairing.images, *common)), "/".join((*pairing.masks, *common)), ".", members)


def _common(folders: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The parts that all paths begin with."""
    first, *others = folders
    count = len(first)
    for other in others:
        while first[:count] != other[:count]:
            count -= 1
    return tuple(first[:count])


# lists


@dataclass(frozen=True, slots=True)
class _Listed:
    taken: dict[SplitName, tuple[_Spot, str]]
    notes: tuple[str, ...]
    stems: frozenset[str]
    """Of the images that are on the lists taken, by their names."""


def may_be_list(name: str) -> bool:
    """Whether a file may be a list of a split, by its name."""
    return name.lower().endswith((".txt", ".lst")) and _split_of_list(name) is not None


def _rest(whole: _Spot, listed: _Listed, lists: Mapping[str, str]) -> tuple[str, list[str]]:
    """A name for the list of images with a mask that no list names, and their stems."""
    beside = PurePosixPath(next(iter(listed.taken.values()))[1]).parent
    name = next(n for n in ("train.txt", "train-rest.txt", "train-rest-2.txt") if str(beside / n) not in lists)
    left = [s for s, one in whole.members.items() if one.mask is not None and one.image not in listed.stems]
    return str(beside / name), sorted(left)


def _split_of_list(name: str) -> SplitName | None:
    stem = PurePosixPath(name).stem
    if _AUG.match(stem):
        return "train"
    found = split_in(stem)
    return None if found is None else found[0]


def _by_lists(choice: Choice, spots: Mapping[SplitName | None, _Spot], texts: Mapping[str, str]) -> _Listed:
    """The lists of one folder: that in which the largest share of the lines names an image with a mask."""
    folders: dict[str, dict[SplitName, list[tuple[str, _Spot, list[str]]]]] = {}
    for name in sorted(texts):
        split = _split_of_list(name)
        if split is None:
            continue
        spot, stems = _best_spot(choice, split, spots, texts[name])
        if spot is not None and stems:
            folder = str(PurePosixPath(name).parent)
            folders.setdefault(folder, {}).setdefault(split, []).append((name, spot, stems))
    if not folders:
        return _Listed({}, (), frozenset())
    folder = max(sorted(folders), key=lambda one: _worth(folders[one]))
    if _worth(folders[folder])[0] < _LEAST_PAIRED:
        return _Listed({}, (f"the lists in {folder} name other images; not used",), frozenset())
    notes = []
    others = [one for one in folders if one != folder]
    if others:
        notes.append(f"lists in {len(folders)} folders; took those in {folder}, not {', '.join(sorted(others)[:3])}")
    taken: dict[SplitName, tuple[_Spot, str]] = {}
    seen: set[str] = set()
    for split, lists in folders[folder].items():
        name, spot, stems = max(lists, key=lambda one: (_masked(one), -len(one[0])))
        taken[split] = (spot, name)
        seen |= {spot.members[stem].image for stem in stems if stem in spot.members}
        if len(lists) > 1:
            each = ", ".join(f"{PurePosixPath(one[0]).name} ({_masked(one)})" for one in lists)
            notes.append(f"{len(lists)} lists of {split}: {each}; took {PurePosixPath(name).name} (the most images)")
    return _Listed(taken, tuple(notes), frozenset(seen))


def _masked(one: tuple[str, _Spot, list[str]]) -> int:
    _, spot, stems = one
    return sum(stem in spot.members and spot.members[stem].mask is not None for stem in stems)


def _worth(lists: Mapping[SplitName, Sequence[tuple[str, _Spot, list[str]]]]) -> tuple[float, int]:
    """Share of the lines that name an image with a mask, leaving test lists alone, and their number."""
    entries = [one for split, own in lists.items() if split != "test" or len(lists) == 1 for one in own]
    total = sum(len(stems) for _, _, stems in entries)
    masked = sum(map(_masked, entries))
    return (round(masked / total, 3) if total else 0.0, masked)


def _best_spot(
    choice: Choice, split: SplitName, spots: Mapping[SplitName | None, _Spot], text: str
) -> tuple[_Spot | None, list[str]]:
    """Below which folders a list's stems are found: the split's own, or all of them."""
    best: tuple[int, _Spot | None, list[str]] = (0, None, [])
    for key in (split, None):
        if key in spots:
            spot = spots[key]
            stems = list(dict.fromkeys(listed_stems(text, _place(choice, spot))))
            found = sum(stem in spot.members for stem in stems)
            if found > best[0]:
                best = (found, spot, stems)
    return best[1], best[2]


def _place(choice: Choice, spot: _Spot) -> Place:
    pattern = _pattern(choice)
    return Place(
        (PurePosixPath(spot.images) / spot.below).as_posix(),
        (PurePosixPath(spot.masks) / spot.below).as_posix(),
        pattern.image_prefix,
        pattern.mask_prefix,
        tuple(_image_suffixes(choice)),
        pattern.mask_suffix,
        "list.txt",
    )


# what comes out


def _unused(
    choice: Choice, chosen: Mapping[SplitName, tuple[_Spot, str | None]], outside: Sequence[str], listed: _Listed
) -> list[str]:
    """Lines on images that are in no split."""
    used = set(listed.stems)
    for spot, name in chosen.values():
        if name is None:
            used |= {member.image for member in spot.members.values()}
    left = [name for name in choice.images.values() if name not in used]
    if not left:
        return []
    masked = {choice.images[key] for key in choice.pairs}
    without = sum(name not in masked for name in left)
    where = "on no list" if listed.taken else "in no folder of a split"
    what = f"{without} without a mask" if without else "all with a mask"
    if outside and not listed.taken:
        folders = Counter(name.rpartition("/")[0] or "." for name in outside)
        what += f", as in {', '.join(sorted(folders)[:3])}"
    return [f"{len(left)} images are {where} and not used ({what})"]


def _without_masks_is_pool(
    chosen: Mapping[SplitName, tuple[_Spot, str | None]],
) -> tuple[dict[SplitName, tuple[_Spot, str | None]], list[str]]:
    """A split of which no image has a mask is the pool of those to be labelled."""
    result = dict(chosen)
    notes: list[str] = []
    bare = [split for split, (spot, _) in chosen.items() if split != "pool" and not spot.masked]
    for split in sorted(bare, key=lambda one: -len(chosen[one][0].members)):
        count = len(chosen[split][0].members)
        if "pool" in result:
            notes.append(f"{split} has no masks: its {count} images are not used; the pool is another folder")
        else:
            result["pool"] = chosen[split]
            notes.append(f"{split} has no masks: its {count} images are the pool, to be labelled")
        del result[split]
    return {split: result[split] for split in SPLIT_WORDS if split in result}, notes


def _section(choice: Choice, chosen: Mapping[SplitName, tuple[_Spot, str | None]]) -> dict[str, Any]:
    """The keys of ``data``: one value where all splits have the same."""
    pattern = _pattern(choice)
    template = choice.paired.pairing.images
    spots = {split: _plain(spot, listed) for split, (spot, listed) in chosen.items()}
    words = {split: _word(template, spot.images) for split, (spot, _) in chosen.items()}
    suffixes = _image_suffixes(choice)

    def named(text: str) -> dict[SplitName, str]:
        return {split: text.replace(WORD, word) for split, word in words.items()}

    image_suffix = {split: tuple(suffix.replace(WORD, word) for suffix in suffixes) for split, word in words.items()}
    return {
        "image_dir": _one_or_each({split: spot.images or "." for split, spot in spots.items()}),
        "mask_dir": _one_or_each({split: spot.masks or "." for split, spot in spots.items()}),
        "image_prefix": _one_or_each(named(pattern.image_prefix)),
        "mask_prefix": _one_or_each(named(pattern.mask_prefix)),
        "image_suffix": _one_or_each({s: one[0] if len(one) == 1 else one for s, one in image_suffix.items()}),
        "mask_suffix": _one_or_each(named(pattern.mask_suffix)),
        "splits": {split: listed or spots[split].below for split, (_, listed) in chosen.items()},
    }


def _pattern(choice: Choice) -> Pattern:
    """Prefixes and suffixes as annoloop.yaml has them."""
    pattern = choice.paired.pairing.pattern
    return replace(pattern, mask_suffix=pattern.mask_suffix.replace(JOINT, "/"))


def _image_suffixes(choice: Choice) -> list[str]:
    return [one.pairing.pattern.image_suffix.replace(JOINT, "/") for one in (choice.paired, *choice.more)]


def _plain(spot: _Spot, listed: str | None) -> _Spot:
    """With a list the folder of the split belongs to image_dir and mask_dir."""
    if listed is None or spot.below == ".":
        return spot
    images, masks = (str(PurePosixPath(folder) / spot.below) for folder in (spot.images, spot.masks))
    return replace(spot, images=images, masks=masks, below=".")


def _one_or_each(values: Mapping[SplitName, Any]) -> Any:
    different: Iterable[Any] = list(values.values())
    first = next(iter(different))
    return first if all(one == first for one in different) else dict(values)
