"""Images of the test split among those that a model is trained or chosen on.

What a model has seen says nothing about it: the test split must be news.  The fact to know: the same
bytes are found without looking, and a picture that was saved anew by its look (``looks.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

from annoloop.errors import DataError
from annoloop.progress import Track, silent
from annoloop.project import Project
from annoloop.schema import ImageRow

_SHOWN = 5


def refuse_test_images(project: Project, rows: Mapping[str, ImageRow], track: Track = silent) -> None:
    """Raise if one of ``rows`` is in the test split or nearly the same as an image there.

    Raises:
        DataError: names the pairs; or an image cannot be read.
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
    by_look = project.looks(seen, track).partners(project.looks(tested, track))
    return [
        f"{name} = {by_bytes[row.image_sha256]}" if row.image_sha256 in by_bytes else f"{name} ~ {by_look[name]}"
        for name, row in seen.items()
        if row.image_sha256 in by_bytes or name in by_look
    ]
