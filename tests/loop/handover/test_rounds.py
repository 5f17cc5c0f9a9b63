"""The masks of a round, against copies that the test kept after each change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.data.images import IndexImage, encode_index_png, read_bytes, write_atomic
from annoloop.errors import DataError, LedgerError
from annoloop.loop.handover import manifest
from annoloop.loop.handover.rounds import digests_of_round, labels_of
from annoloop.loop.history import log
from annoloop.loop.undo import undo
from annoloop.project.project import Project
from annoloop.project.rows import MaskChange


def change(project: Project, drawn: dict[str, int | None]) -> None:
    """As a pull does: masks of one class all over, or removed."""
    project.scan(project.samples())
    changes = []
    for name, value in drawn.items():
        path = project.mask_path(name)
        old = project.keep_object(read_bytes(path)) if path.exists() else None
        new = None
        if value is not None:
            new = project.keep_object(encode_index_png(IndexImage(np.full((40, 56), value, np.uint8))))
        changes.append(MaskChange(name, old, new))
    project.change_masks("pull", None, changes)
    project.write_masks()


def on_disk(project: Project) -> dict[str, bytes]:
    return {one.id: read_bytes(one.mask) for one in project.samples() if one.mask is not None}


def of_round(project: Project, number: int | None) -> dict[str, bytes]:
    masks = labels_of(project, number).masks
    return {name: read_bytes(one.file) for name, one in masks.items() if one is not None}


def test_every_round_of_pulls_and_undos_is_what_it_was(project: Project) -> None:
    a, b, c, d = sorted(on_disk(project))[:4]
    kept = [on_disk(project)]
    for step in (lambda: change(project, {a: 1, b: 1}), lambda: change(project, {b: 2, c: None}), lambda: undo(project),
                 lambda: change(project, {a: 0, d: 2}), lambda: undo(project), lambda: undo(project)):  # fmt: skip
        step()
        kept.append(on_disk(project))
    assert [of_round(project, number) for number in range(7)] == kept
    assert of_round(project, None) == kept[-1]
    assert kept[0] == kept[6] != kept[1] != kept[2]
    assert [entry.round for entry in log(project)] == [1, 2, 3, 4, 5, 6]


def test_what_was_edited_by_hand_is_told(project: Project) -> None:
    a, b, c = sorted(on_disk(project))[:3]
    labels_of(project)  # the ledger sees all of them
    change(project, {a: 1})
    before = on_disk(project)
    for name in (a, b):
        write_atomic(project.mask_path(name), encode_index_png(IndexImage(np.full((40, 56), 2, np.uint8))))
    labels = labels_of(project, 1)
    assert (labels.edited, labels.edited_since) == ((b,), (a,))
    assert of_round(project, 1)[a] == before[a]
    assert of_round(project, 1)[c] == before[c]
    assert labels.name == "round 1"


def test_a_sample_without_an_image_is_gone(project: Project) -> None:
    a = sorted(on_disk(project))[0]
    change(project, {a: 1})
    project.image_path(a).unlink()  # type: ignore[union-attr]
    assert labels_of(project, 0).gone == (a,)
    assert a not in labels_of(project, 0).masks


@pytest.mark.parametrize("number", [-1, 2, 99])
def test_a_round_that_there_is_not(project: Project, number: int) -> None:
    change(project, {sorted(on_disk(project))[0]: 1})
    with pytest.raises(LedgerError, match=rf"no round {number}; rounds are 0 to 1"):
        labels_of(project, number)


def test_a_hole_in_the_history_is_an_error(project: Project) -> None:
    a = sorted(on_disk(project))[0]
    change(project, {a: 1})
    old = project.ledger.mask_changes(1)[0].old_sha256
    (project.state_dir / "masks" / str(old)[:2] / f"{old}.png").unlink()
    with pytest.raises(LedgerError, match="hole"):
        labels_of(project, 0)
    assert len(labels_of(project, 1).masks) == 6


VERSIONS = st.sampled_from([None, "p", "q", "r"])


@given(VERSIONS, st.lists(VERSIONS, max_size=8))
def test_a_round_has_what_its_change_left(first: str | None, later: list[str | None]) -> None:
    versions = [first, *later]
    changes = [[MaskChange("train/a", old, new)] for old, new in zip(versions, later, strict=False)]
    found = [digests_of_round(changes, number).get("train/a", first) for number in range(len(versions))]
    assert found == versions


NAMES = st.text(min_size=1, max_size=8)
ENTRIES = st.lists(
    st.builds(manifest.Entry, NAMES, NAMES, NAMES, st.none() | NAMES), max_size=4, unique_by=lambda one: one.id
)


@given(ENTRIES, st.dictionaries(NAMES, NAMES, max_size=3))
def test_a_manifest_comes_back(entries: list[manifest.Entry], files: dict[str, str]) -> None:
    given_one = manifest.Manifest("snapshot", "now", "d", ("a",), tuple(sorted(entries, key=lambda e: e.id)), files)
    text = manifest.render(given_one)
    assert manifest.parse(text, "x") == given_one
    assert manifest.render(manifest.parse(text, "x")) == text
    assert len(json.loads(text)["samples"]) == len(entries)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"annoloop manifest": 2}', b'{"annoloop manifest": 1, "samples": [{}]}',
             b'{"annoloop manifest": 1, "samples": 3}']
)  # fmt: skip
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(DataError):
        manifest.parse(text, "x")
