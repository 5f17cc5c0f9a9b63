"""A share of the training images drawn for validation, and written as lists.

Not here: when this is asked for (``start.py``).  The facts to know: the same images and seed give the same lists; what
looks nearly the same stays on one side, because a copy in val would praise a model for its memory.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from annoloop.data.config import DataConfig, checked
from annoloop.data.images import read_small_grey
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.metrics.perceptual_hash import SIDE, Look, Looks, look
from annoloop.progress import Track, silent

LISTS = "splits"
"""The folder below the data's root where the lists go."""


def with_val(
    data: DataConfig, samples: Sequence[Sample], share: float, track: Track = silent
) -> tuple[DataConfig, dict[str, str]]:
    """A configuration with a val split drawn from train, and the text of the lists that say so, by their names.

    Raises:
        DataError: too few images, or there are such lists already.
    """
    labelled = [sample for sample in samples if sample.split == "train" and sample.mask is not None]
    train, val = draw(labelled, share, track=track)
    lists = {f"{LISTS}/{split}.txt": "\n".join(stems) + "\n" for split, stems in (("train", train), ("val", val))}
    taken = [name for name in lists if (data.root / name).exists()]
    if taken:
        raise DataError("is there already", where=data.root / taken[0], hint="remove it, or name it in data.splits")
    place = data.place("train")
    others = {split: where for split, where in data.splits.items() if split != "train"}
    section: dict[str, Any] = {
        "splits": {"train": f"{LISTS}/train.txt", "val": f"{LISTS}/val.txt", **others},
        "image_dir": _with_own(data.image_dir, place.images, others),
        "mask_dir": _with_own(data.mask_dir, place.masks, others),
    }
    for key in ("image_prefix", "mask_prefix", "image_suffix", "mask_suffix"):
        now = getattr(data, key)
        section[key] = {**now, "val": now["train"]} if isinstance(now, Mapping) else now
    kept = {key: getattr(data, key) for key in ("root", "values", "nearest", "reduce_zero_label")}
    return checked(kept | section), lists


def _with_own(now: Any, own: str, others: Mapping[Any, str]) -> Any:
    """Folders where train and val have their own, and other splits what they had."""
    theirs = {split: now[split] if isinstance(now, Mapping) else now for split in others}
    return own if all(one == own for one in theirs.values()) else {"train": own, "val": own, **theirs}


def draw(samples: Sequence[Sample], share: float, seed: int = 0, track: Track = silent) -> tuple[list[str], list[str]]:
    """The stems that stay in train, and those of val: ``share`` of them, or one at least.

    Raises:
        DataError: fewer than two images that do not look the same.
    """
    groups = _alike(samples, track)
    if len(groups) < 2:
        raise DataError(
            f"{len(samples)} images, which look nearly the same or are too few to draw some for val",
            hint="without --val-share all of them train",
        )
    random.Random(seed).shuffle(groups)  # noqa: S311 - no secret, but the same each time
    wanted = max(1, round(share * len(samples)))
    drawn: list[str] = []
    for group in groups[:-1]:
        if len(drawn) >= wanted:
            break
        if not drawn or len(drawn) + len(group) <= wanted + len(group) // 2:
            drawn += group
    left = set(drawn)
    return sorted(stem for group in groups for stem in group if stem not in left), sorted(drawn)


def _alike(samples: Sequence[Sample], track: Track) -> list[list[str]]:
    """Stems by groups of images that look nearly the same, in order."""
    stems = {sample.id.partition("/")[2]: sample.image for sample in samples}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = track(pool.map(_look_at, stems.values()), "comparing images", len(stems))
        looks = {stem: one for stem, one in zip(stems, seen, strict=True) if one is not None}
    first_of = {stem: stem for stem in stems}
    for stem, partner in Looks(looks).repeats().items():
        first_of[_first(first_of, stem)] = _first(first_of, partner)
    groups: dict[str, list[str]] = {}
    for stem in stems:
        groups.setdefault(_first(first_of, stem), []).append(stem)
    return list(groups.values())


def _first(first_of: dict[str, str], stem: str) -> str:
    while first_of[stem] != stem:
        stem = first_of[stem]
    return stem


def _look_at(path: Location) -> Look | None:
    try:
        return look(read_small_grey(path, SIDE))
    except DataError:
        return None
