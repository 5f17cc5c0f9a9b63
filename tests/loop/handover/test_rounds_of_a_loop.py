"""Rounds of a real loop: pushed to a server, corrected there, pulled, and taken back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from running_loop import Loop, mask_bytes
from test_rounds import of_round

from annoloop.api.handover import compare, export_data
from annoloop.loop.undo import undo
from annoloop.masks.regions import tight

REGION = tight(1, np.ones((9, 7), np.bool_), top_px=20, left_px=30)


def test_pull_pull_undo(loop: Loop, tmp_path: Path) -> None:
    assert REGION is not None
    kept = [mask_bytes(loop.project)]
    for _ in range(2):
        pushed = loop.push(worst=3, source="label")
        for frame in range(3):
            loop.draw(pushed.task, frame, "disc", REGION)
        loop.complete(pushed.task)
        loop.pull(pushed.task)
        kept.append(mask_bytes(loop.project))
    undo(loop.project)
    kept.append(mask_bytes(loop.project))
    assert [of_round(loop.project, number) for number in range(4)] == kept
    assert kept[3] == kept[1] != kept[2]
    report = compare(loop.project, 1, 2)
    assert report.changed == sum(kept[1][name] != kept[2][name] for name in kept[1]) > 0
    by_name = {one.name: one for one in report.classes}
    assert by_name["disc"].gained_px == report.changed_px
    exported = export_data(loop.project, "coco", tmp_path / "labels.json", round_number=2)
    assert (exported.edited, exported.edited_since) == ((), ())


def test_a_hand_edit_after_a_push_is_known(loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from annoloop.cli.main import run

    loop.push(worst=3, source="label")
    name = loop.project.ledger.frames(1)[0].sample_id
    path = Path(str(loop.project.mask_path(name)))
    other = next(data for data in mask_bytes(loop.project).values() if data != path.read_bytes())
    path.write_bytes(other)
    loop.project.scan(loop.project.samples())  # the last look has the edit; the push does not
    where = ["--project", str(loop.folder)]
    assert run(["export", "data", "--round", "0", "--to", "cvat", "--out", str(tmp_path / "x.zip"), *where]) == 0
    assert f"1 masks that no pull touched, taken as they are now, though others were seen before: {name}" in (
        capsys.readouterr().out
    )
