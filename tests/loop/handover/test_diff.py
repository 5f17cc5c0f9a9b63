"""``diff`` against numpy, for every kind of side."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_rounds import change, of_round, on_disk

from annoloop.api.handover import compare
from annoloop.cli.main import run
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.data.mmseg_folders import decode_label_map
from annoloop.errors import AnnoloopError, ConfigError, DataError, LedgerError
from annoloop.loop.handover import compare as comparing
from annoloop.loop.handover.compare import DiffReport, flows_of
from annoloop.loop.handover.export import export_data
from annoloop.loop.handover.snapshot import snapshot
from annoloop.masks.regions import LabelMap
from annoloop.project.project import Project


@pytest.fixture
def changed(project: Project) -> Project:
    """Two rounds; the second takes a mask away."""
    a, b, c = sorted(on_disk(project))[:3]
    change(project, {a: 1, b: 2})
    change(project, {b: 1, c: None})
    return project


def label_maps(project: Project, number: int | None) -> dict[str, LabelMap]:
    return {name: decode_label_map(data, project.config.data, name) for name, data in of_round(project, number).items()}


def check(report: DiffReport, before: dict[str, LabelMap], after: dict[str, LabelMap], names: tuple[str, ...]) -> None:
    """Every figure of a report, counted anew."""
    both = before.keys() & after.keys()
    px = {name: int((before[name] != after[name]).sum()) for name in both}
    px = {name: count for name, count in px.items() if count}
    assert {one.sample_id: one.changed_px for one in report.masks if one.state == "changed"} == px
    assert [one.changed_px for one in report.masks[: len(px)]] == sorted(px.values(), reverse=True)
    assert (report.changed, report.changed_px) == (len(px), sum(px.values()))
    assert {one.sample_id for one in report.masks if one.state == "added"} == after.keys() - before.keys()
    assert {one.sample_id for one in report.masks if one.state == "removed"} == before.keys() - after.keys()
    for kind in report.classes:
        index = names.index(kind.name)
        assert kind.lost_px == sum(int(((before[n] == index) & (after[n] != index)).sum()) for n in both)
        assert kind.gained_px == sum(int(((before[n] != index) & (after[n] == index)).sum()) for n in both)
    assert sum(one.px for one in report.flows) == report.changed_px
    for flow in report.flows:
        x, y = names.index(flow.before), names.index(flow.after)
        assert flow.px == sum(int(((before[n] == x) & (after[n] == y)).sum()) for n in both)
    for one in report.masks:
        if one.box_ltrb is not None:
            left, top, right, bottom = one.box_ltrb
            differs = before[one.sample_id] != after[one.sample_id]
            assert differs[top:bottom, left:right].sum() == differs.sum()


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 2), (0, 2), (2, 0), (1, 1)])
def test_rounds_are_compared_as_numpy_compares_them(changed: Project, a: int, b: int) -> None:
    report = compare(changed, f"round:{a}", b)
    check(report, label_maps(changed, a), label_maps(changed, b), changed.classes.names)
    assert (report.compared, report.only_a, report.only_b) == (6, 0, 0)


def test_now_is_what_is_on_disk(changed: Project) -> None:
    name = sorted(on_disk(changed))[0]
    write_atomic(changed.mask_path(name), encode_index_png(IndexImage(np.full((40, 56), 2, np.uint8))))
    report = compare(changed, 2, "now")
    check(report, label_maps(changed, 2), label_maps(changed, None), changed.classes.names)
    assert report.changed == 1


@pytest.mark.parametrize("copy", [True, False])
def test_a_snapshot_is_a_side(changed: Project, tmp_path: Path, copy: bool) -> None:
    kept = snapshot(changed, "first", round_number=1, copy=copy)
    for side in ("first", str(kept.folder), str(kept.manifest)):
        report = compare(changed, side, 2)
        check(report, label_maps(changed, 1), label_maps(changed, 2), changed.classes.names)


def test_an_export_is_a_side(changed: Project, tmp_path: Path) -> None:
    export_data(changed, tmp_path / "out", "mmseg", round_number=0)
    export_data(changed, tmp_path / "labels.json", "coco", round_number=1)
    report = compare(changed, str(tmp_path / "out"), str(tmp_path / "labels.json.manifest.json"))
    check(report, label_maps(changed, 0), label_maps(changed, 1), changed.classes.names)


def test_a_version_that_is_nowhere_is_told(changed: Project) -> None:
    name = sorted(on_disk(changed))[0]
    write_atomic(changed.mask_path(name), encode_index_png(IndexImage(np.eye(40, 56, dtype=np.uint8))))
    snapshot(changed, "by-hand")
    write_atomic(changed.mask_path(name), encode_index_png(IndexImage(np.full((40, 56), 0, np.uint8))))
    report = compare(changed, "by-hand", "now")
    assert (report.uncompared, report.changed) == (1, 0)
    assert "in no file any more" in report.masks[0].why


@pytest.mark.parametrize("below", [".", "ann_dir"])
def test_a_folder_of_masks_is_a_side(changed: Project, tmp_path: Path, below: str) -> None:
    for name, data in of_round(changed, 0).items():
        write_atomic(tmp_path / "theirs" / "ann_dir" / f"{name}.png", data)
    gone = sorted(on_disk(changed))[-1]
    (tmp_path / "theirs" / "ann_dir" / f"{gone}.png").unlink()
    report = compare(changed, str(tmp_path / "theirs" / below), 1)
    before = label_maps(changed, 0)
    del before[gone]
    after = label_maps(changed, 1)
    del after[gone]
    check(report, before, after, changed.classes.names)
    assert (report.compared, report.only_a, report.only_b) == (5, 0, 1)


def test_a_run_is_compared_where_it_predicted(changed: Project) -> None:
    rows = changed.scan(changed.samples())
    number = changed.ledger.add_run(kind_digest="x", recipe="x", parent_id=None, class_digest=changed.classes.digest)
    with pytest.raises(LedgerError, match="no predictions"):
        compare(changed, f"run:{number}", "now")
    labels = label_maps(changed, None)
    predicted = {}
    for name in list(labels)[:3]:
        predicted[name] = np.roll(labels[name], 3, axis=1)
        write_atomic(
            changed.prediction_paths(number, rows[name].image_sha256)[0], encode_index_png(IndexImage(predicted[name]))
        )
    report = compare(changed, f"run:{number}", "now")
    check(report, predicted, {name: labels[name] for name in predicted}, changed.classes.names)
    assert (report.compared, report.only_b) == (3, 3)


def test_other_bytes_may_hold_the_same_labels(changed: Project) -> None:
    name, label_map = next(iter(label_maps(changed, None).items()))
    write_atomic(changed.mask_path(name), encode_index_png(IndexImage(label_map, palette=bytes(range(9)))))
    report = compare(changed, 2, "now")
    assert (report.changed, report.same_labels, report.masks) == (0, 1, ())


def test_masks_of_another_size_or_that_cannot_be_read_are_told(changed: Project, tmp_path: Path) -> None:
    shutil.copytree(changed.config.data.root, tmp_path / "theirs")  # type: ignore[arg-type]
    first, second = sorted(on_disk(changed))[:2]
    write_atomic(tmp_path / f"theirs/ann_dir/{first}.png", encode_index_png(IndexImage(np.zeros((3, 5), np.uint8))))
    write_atomic(tmp_path / f"theirs/ann_dir/{second}.png", b"no mask")
    report = compare(changed, "now", str(tmp_path / "theirs"))
    assert {one.sample_id: one.state for one in report.masks} == {first: "other size", second: "cannot be compared"}
    assert (report.uncompared, report.changed) == (2, 0)


def test_the_page_has_pictures_and_overwrites_nothing(changed: Project, tmp_path: Path) -> None:
    report = compare(changed, 0, 1, out=tmp_path / "diff.html")
    text = (tmp_path / "diff.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == report.changed == 2
    compare(changed, 0, 2, out=tmp_path / "diff.html")
    (tmp_path / "diff.html").write_text("mine")
    with pytest.raises(DataError, match="no page of annoloop"):
        compare(changed, 0, 2, out=tmp_path / "diff.html")


@pytest.mark.parametrize(
    ("side", "error"),
    [("9", LedgerError), ("run:9", LedgerError), ("nowhere", ConfigError), ("", ConfigError), ("run:x", ConfigError),
     ("a" * 300, ConfigError), ("-1", ConfigError), ("round:", ConfigError), (".", DataError)],
)  # fmt: skip
def test_what_is_no_side_is_refused(
    changed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, error: type[AnnoloopError]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(error) as raised:
        compare(changed, side, "now")
    assert raised.value.hint


def test_a_snapshot_of_other_classes_is_refused(changed: Project) -> None:
    kept = snapshot(changed, "first")
    kept.manifest.write_text(kept.manifest.read_text().replace(changed.classes.digest, "0" * 64))
    with pytest.raises(ConfigError, match="other classes"):
        compare(changed, "first", "now")


def test_the_commands(changed: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--project", str(changed.path.parent)]
    assert run(["export", "data", "--round", "1", "--to", "mmseg", "--out", str(tmp_path / "out"), *where]) == 0
    assert run(["snapshot", "first", "--round", "0", *where]) == 0
    assert run(["diff", "first", "now", *where]) == 0
    said = capsys.readouterr().out
    assert "6 masks and 6 images, the labels of round 1" in said
    assert "2 masks changed, 0 added, 1 removed" in said
    assert run(["diff", "first", "now", "--json", *where]) == 0
    assert '"changed": 2' in capsys.readouterr().out
    assert run(["log", *where]) == 0
    assert "round" in capsys.readouterr().out
    assert run(["export", "data", "--round", "7", "--to", "coco", "--out", str(tmp_path / "x.json"), *where]) == 5
    assert run(["snapshot", "now", *where]) == 3


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("px", [0, 1, 99, 100, 101, 250])
def test_what_is_counted_piece_by_piece_is_what_is_counted_at_once(
    monkeypatch: pytest.MonkeyPatch, dtype: type, highest: int, px: int
) -> None:
    monkeypatch.setattr(comparing, "_PIECE_PX", 100)
    rng = np.random.default_rng(px)
    before, after = (rng.choice([0, 1, 2, highest], px).astype(dtype) for _ in range(2))
    assert flows_of(before, after) == Counter(zip(before.tolist(), after.tolist(), strict=True))
