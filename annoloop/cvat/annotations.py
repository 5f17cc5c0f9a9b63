"""What is drawn on the frames of a job: read from CVAT's answer, and parted into what has an area and what has none.

Pure functions on an ``Answer``.  The facts to know: CVAT stores masks without a look, so runs are checked here; and a
track goes on from each of its key frames to the next, up to the end of the job.
"""

from __future__ import annotations

from annoloop.cvat.answers import LARGEST, Answer
from annoloop.cvat.wire import MOST_FRAMES, JobAnnotations, Shape, Stray, Tag
from annoloop.errors import CvatError, DataError
from annoloop.masks.run_lengths import check_cvat_runs

_WHY_NOT = {
    "points": "points have no area",
    "polyline": "a line has no area",
    "cuboid": "a cuboid is not an area of the image",
    "skeleton": "a skeleton has no area",
}
_OUTLINES = ("polygon", "rectangle", "ellipse")
_DRAW = "draw a mask, polygon, rectangle or ellipse"


def read_shapes(answer: Answer) -> list[Shape]:
    """All shapes of a job, whatever their kind.

    Raises:
        CvatError: there are tracks, or the answer is not as CVAT's.
    """
    tracks = _listed(answer, "tracks")
    if tracks:
        raise CvatError(
            f"{len(tracks)} tracks: annoloop reads shapes of single frames only",
            where=answer.where,
            hint="in CVAT, draw with 'Shape' instead of 'Track'",
        )
    return [_shape(one) for one in answer["shapes"].items()]


def has_tracks(answer: Answer) -> bool:
    """Whether the end of the job has to be known to read it."""
    return bool(_listed(answer, "tracks"))


def read_annotations(answer: Answer, stop: int) -> JobAnnotations:
    """All that is on the frames of a job whose last frame is ``stop``.

    Raises:
        CvatError: the answer is not as CVAT's; what people can draw is never a reason.
    """
    shapes: list[Shape] = []
    strays: list[Stray] = []
    for one in answer["shapes"].items():
        shape = _shape(one)
        reason = _why_not(shape)
        if reason is None:
            shapes.append(shape)
        else:
            strays.append(Stray(shape.frame, shape.kind, reason, shape.id))
    for track in _listed(answer, "tracks"):
        number = _id(track)
        strays += [
            Stray(frame, "track", "a track is no mask of a single frame", number) for frame in _span(track, stop)
        ]
    tags = tuple(Tag(_frame(one), one["label_id"].whole()) for one in _listed(answer, "tags"))
    return JobAnnotations(tuple(shapes), tuple(strays), tags)


def _listed(answer: Answer, key: str) -> list[Answer]:
    found = answer.get(key)
    return [] if found is None else found.items()


def _shape(one: Answer) -> Shape:
    rotation, source, z_order = one.get("rotation"), one.get("source"), one.get("z_order")
    attributes = tuple((a["spec_id"].whole(), a["value"].text()) for a in _listed(one, "attributes"))
    return Shape(
        _frame(one), one["label_id"].whole(), one["type"].text(), one["points"].numbers(),
        0 if z_order is None else z_order.whole(low=-LARGEST), 0.0 if rotation is None else rotation.number(),
        "manual" if source is None else source.text(), _id(one), attributes,
    )  # fmt: skip


def _frame(one: Answer) -> int:
    return one["frame"].whole(high=MOST_FRAMES)


def _id(one: Answer) -> int | None:
    found = one.get("id")
    return None if found is None else found.whole()


def _why_not(shape: Shape) -> str | None:
    """Why a shape has no area; None if it has one, as far as this can be told without the image."""
    if shape.kind == "mask":
        try:
            check_cvat_runs(shape.points)
        except DataError as error:
            return error.message
        return None
    if shape.kind not in _OUTLINES:
        return f"{_WHY_NOT.get(shape.kind, 'it is of an unknown kind')}: {_DRAW}"
    count = len(shape.points)
    whole = (count >= 6 and count % 2 == 0) if shape.kind == "polygon" else count == 4
    return None if whole else f"a {shape.kind} of {count} numbers"


def _span(track: Answer, stop: int) -> list[int]:
    """The frames on which a track is to be seen; at least the one where it begins."""
    begin = _frame(track)
    keys = sorted((_frame(key), _is_outside(key)) for key in _listed(track, "shapes")) or [(begin, False)]
    ends = [frame for frame, _ in keys[1:]] + [max(stop, keys[-1][0]) + 1]
    seen = {
        frame
        for (start, outside), end in zip(keys, ends, strict=True)
        if not outside
        for frame in range(start, min(end, max(stop, start) + 1))
    }
    return sorted(seen | {begin})


def _is_outside(key: Answer) -> bool:
    found = key.get("outside")
    return found is not None and found.flag()
