"""Images of a project that are nearly the same: one of a kind goes to annotators, none of the test split trains.

The fact to know: the same bytes are found without looking, and a picture that was saved anew by its look
(``perceptual_hash.py``), which the ledger keeps, so that no image is decoded twice for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from annoloop.data.images import read_small_grey
from annoloop.data.storage import Location
from annoloop.errors import DataError
from annoloop.metrics.perceptual_hash import SIDE, Look, Looks, look
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow

_SHOWN = 5
_AT_ONCE = 200


def looks_of(project: Project, rows: Mapping[str, ImageRow], track: Track = silent) -> Looks:
    """How images look, by sample id; only those never seen before are decoded.

    An image that cannot be read looks like no other: to name it is the business of those who use it.

    Args:
        rows: what ``Project.scan`` says of them.
    """
    known = project.ledger.looks({row.image_sha256 for row in rows.values()})
    missing = {row.image_sha256: name for name, row in rows.items() if row.image_sha256 not in known}
    paths = {digest: project.image_path(name) for digest, name in missing.items()}
    fresh = track(_looked_at(paths), "comparing images", len(paths))
    while some := dict(islice(fresh, _AT_ONCE)):  # what was seen before ^C is not lost
        project.ledger.put_looks(some)
        known |= some
    return Looks({name: known[row.image_sha256] for name, row in rows.items() if row.image_sha256 in known})


def refuse_test_images(project: Project, rows: Mapping[str, ImageRow], track: Track = silent) -> None:
    """Raise if one of ``rows`` is in the test split or nearly the same as an image there.

    Raises:
        DataError: names the pairs.
    """
    if "test" not in project.config.data.splits:
        return
    tested = project.scan(project.samples(["test"]), track)
    leaks = _leaks(project, rows, tested, track)
    if leaks:
        rest = f" and {len(leaks) - _SHOWN} more" if len(leaks) > _SHOWN else ""
        raise DataError(
            f"{len(leaks)} images of train, val or pool are in the test split too, = the same, ~ nearly the same:"
            f" {', '.join(leaks[:_SHOWN])}{rest}",
            where=project.config.data.root,
            hint="take them out of one of the two; --allow-test-images trains all the same",
        )


def _leaks(project: Project, seen: Mapping[str, ImageRow], tested: Mapping[str, ImageRow], track: Track) -> list[str]:
    """``train/a = test/b`` or ``train/a ~ test/b``, in the order of ``seen``."""
    by_bytes = {row.image_sha256: name for name, row in tested.items()}
    by_look = looks_of(project, seen, track).partners(looks_of(project, tested, track))
    return [
        f"{name} = {by_bytes[row.image_sha256]}" if row.image_sha256 in by_bytes else f"{name} ~ {by_look[name]}"
        for name, row in seen.items()
        if row.image_sha256 in by_bytes or name in by_look
    ]


def _looked_at(paths: Mapping[str, Location]) -> Iterator[tuple[str, Look]]:
    """The look of every image by its digest, decoded on all cores: Pillow lets go of Python's lock meanwhile."""
    waiting = iter(paths.items())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := dict(islice(waiting, _AT_ONCE)):  # a few at a time, so that ^C need not wait for all
            for digest, seen in zip(some, pool.map(_look_at, some.values()), strict=True):
                if seen is not None:
                    yield digest, seen


def _look_at(path: Location) -> Look | None:
    try:
        return look(read_small_grey(path, SIDE))
    except DataError:
        return None
