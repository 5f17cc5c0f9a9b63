"""A share of the training images drawn for validation, and written as lists.

Not here: when this is asked for (``start.py``).  The facts to know: the same images and seed give the same lists; what
looks nearly the same stays on one side, because a copy in val would praise a model for its memory.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from annoloop.data.images import read_small_grey
from annoloop.data.mmseg_folders import Sample
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.metrics.perceptual_hash import SIDE, Look, Looks, look
from annoloop.progress import Track, silent


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
