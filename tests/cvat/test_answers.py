"""The border for what a server says: whatever is not as it must be is an error with the URL and the key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from annoloop.cvat.annotations import has_tracks, read_annotations, read_shapes
from annoloop.cvat.answers import Answer, decoded
from annoloop.cvat.wire import (
    About,
    Shape,
    frame_infos,
    issue_info,
    job_info,
    label_info,
    shape_digest,
    task_info,
)
from annoloop.errors import CvatError

URL = "http://127.0.0.1:1/api/x"

GOOD: dict[str, Any] = {
    "task": {"id": 1, "name": "t", "project_id": 2, "size": 3},
    "job": {"id": 1, "start_frame": 0, "stop_frame": 2, "stage": "annotation", "state": "new", "assignee": None},
    "issue": {"id": 1, "frame": 0, "position": [1, 2], "resolved": False},
    "label": {"id": 1, "name": "disc", "color": "#ffffff"},
    "meta": {"frames": [{"name": "a.png", "width": 4, "height": 3}], "deleted_frames": []},
    "shapes": {
        "tags": [],
        "tracks": [],
        "shapes": [{"id": 1, "frame": 0, "label_id": 1, "type": "mask", "points": [0, 1, 0, 0, 0, 0], "z_order": 0,
                    "rotation": 0, "source": "auto"}],
    },
}  # fmt: skip
READ = {
    "task": task_info, "job": job_info, "issue": issue_info, "label": label_info, "meta": frame_infos,
    "shapes": read_shapes,
}  # fmt: skip
LIES = [
    {}, [], "x", "", -1, -(2**70), 2**70, 10**5000, 1.5, 1e300, float("nan"), float("inf"), True, "\ud800", "a\0b",
    [[]], {"x": 1}, [None], None,
]  # fmt: skip


def changed(value: Any, path: tuple[str | int, ...], lie: object) -> Any:
    """A copy of a value with a lie in one place; ``DEL`` leaves it out."""
    copy = json.loads(json.dumps(value))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    if lie == "DEL":
        del inside[path[-1]]
    else:
        inside[path[-1]] = lie
    return copy


def paths(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """All places in a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in inside for found in [(*above, key), *paths(one, (*above, key))]]


@pytest.mark.parametrize("what", GOOD)
def test_whatever_stands_anywhere_in_an_answer_is_read_or_refused_with_its_place(what: str) -> None:
    READ[what](Answer(GOOD[what], URL))
    refused: list[tuple[object, bool]] = []
    for path in paths(GOOD[what]):
        for lie in ["DEL", *LIES]:
            try:
                READ[what](Answer(changed(GOOD[what], path, lie), URL))
            except CvatError as error:
                refused.append((error.where, str(path[0]) in error.message and len(error.message) < 300))
    assert len(refused) > 20
    assert set(refused) == {(URL, True)}
    for lie in LIES:
        with pytest.raises(CvatError):
            READ[what](Answer(lie, URL))


@pytest.mark.parametrize("number", [3, 3.0, "3"])
def test_a_whole_number_is_one_however_it_is_written(number: object) -> None:
    assert task_info(Answer(GOOD["task"] | {"id": number}, URL)).id == 3


def test_3_and_3_0_are_the_same_shape() -> None:
    whole, floats = (Shape(0, 1, "mask", points) for points in ((0, 1, 2), (0.0, 1.0, 2.0)))
    assert shape_digest(whole, "disc") == shape_digest(floats, "disc")


@pytest.mark.parametrize("body", [b"<html>", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"nul"])
def test_what_is_no_json_is_an_error_in_words(body: bytes) -> None:
    with pytest.raises(CvatError, match="unexpected answer") as caught:
        decoded(body, URL)
    assert caught.value.where == URL


@pytest.mark.parametrize("version", ["2.54.1", "2.80.0", "2.54.1.dev0", "next", "2.1" * 50])
def test_versions_that_fit_are_no_note(version: str) -> None:
    assert About(version, "2.80.0", "me").note is None


@pytest.mark.parametrize("version", ["2.31.0", "3.0.0", "1.7"])
def test_versions_that_do_not_fit_are_one(version: str) -> None:
    assert "release 2.54 or later" in str(About(version, "2.80.0", "me").note)


def drawn(kind: str, points: list[float], **more: object) -> dict[str, object]:
    return {"id": 7, "frame": 1, "label_id": 1, "type": kind, "points": points, "z_order": 0} | more


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (drawn("points", [1, 2]), "no area"),
        (drawn("polyline", [1, 2, 3, 4]), "no area"),
        (drawn("cuboid", [0.0] * 16), "not an area"),
        (drawn("skeleton", []), "no area"),
        (drawn("blob", []), "unknown kind"),
        (drawn("polygon", [1, 2, 3, 4]), "a polygon of 4 numbers"),
        (drawn("mask", [3, 4, 0, 0, 1, 1]), "runs add up to 7 px, the box holds 4"),
        (drawn("mask", [0, 4, -1, 0, 0, 1]), "leaves any image"),
        (drawn("mask", [0.5, 3.5, 0, 0, 1, 1]), "whole numbers"),
        (drawn("mask", [2**62, 2**62, 2**62, 2**62 + 1024, 0, 0, 31, 31]), "the box holds 1024"),
    ],
)
def test_a_shape_without_an_area_is_a_stray_and_the_others_are_read(shape: dict[str, object], said: str) -> None:
    good = GOOD["shapes"]["shapes"]
    found = read_annotations(Answer({"shapes": [shape, *good], "tags": [{"frame": 2, "label_id": 5}]}, URL), 0)
    assert [one.id for one in found.shapes] == [1]
    assert [(one.frame, one.kind, one.id) for one in found.strays] == [(1, shape["type"], 7)]
    assert said in found.strays[0].reason
    assert [(tag.frame, tag.label_id) for tag in found.tags] == [(2, 5)]


@pytest.mark.parametrize(
    ("keys", "frames"),
    [
        ([], [2]),
        ([(2, False)], [2, 3, 4, 5]),
        ([(2, False), (4, True)], [2, 3]),
        ([(2, False), (3, True), (5, False)], [2, 5]),
        ([(2, True)], [2]),
        ([(2, False), (2_000_000, False)], [2, 3, 4, 5, 2_000_000]),
    ],
)
def test_a_track_is_a_stray_on_every_frame_that_it_spans(keys: list[tuple[int, bool]], frames: list[int]) -> None:
    shapes = [{"frame": frame, "outside": outside} for frame, outside in keys]
    answer = Answer({"shapes": [], "tracks": [{"id": 9, "frame": 2, "label_id": 1, "shapes": shapes}]}, URL)
    assert has_tracks(answer)
    strays = read_annotations(answer, 5 if keys else 2).strays
    assert [(one.frame, one.kind, one.id) for one in strays] == [(frame, "track", 9) for frame in frames]
    with pytest.raises(CvatError, match="1 tracks"):
        read_shapes(answer)
