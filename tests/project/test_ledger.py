"""The SQLite file: its schema from nothing and from later, rows there and back, all or nothing."""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from annoloop.errors import LedgerError
from annoloop.masks.tiling import Tile
from annoloop.metrics.label_quality import Belief
from annoloop.metrics.perceptual_hash import SIDE, look
from annoloop.metrics.ranking import Candidate
from annoloop.project.ledger import Ledger
from annoloop.project.rows import BeliefRow, FactRow, FramePlace, FrameRow, ImageRow, IssueRow, MaskChange, ScoreRow
from annoloop.project.schema import MIGRATIONS

IMAGES = [ImageRow(f"train/{name}", "1" * 64, "10:20:30", "2" * 64, "1:2:3") for name in "abc"]
FRAMES = [FrameRow("train/a", "a.png", 0.25, "2" * 64, "3" * 64, "3" * 64, ("car:12", "tree:34")),
          FrameRow("train/b", "b.png", None, None, "3" * 64, "4" * 64, ())]  # fmt: skip
ISSUES = [
    IssueRow("train/a", 0, "car missed: …", (0, 4, 1, 2, 2, 3)),
    IssueRow("train/a", 1, "tree or car: …", (0, 1, 0, 0, 0, 0)),
]
TASK = {"name": "worst 2", "plan_digest": "p", "source": "prediction", "run_id": None, "class_digest": "c",
        "server": "http://localhost:8080", "shape": "polygon", "tolerance_px": 1.5, "min_region_px": 16}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".annoloop" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """A new ledger that knows three images."""
    with Ledger(path) as opened:
        opened.put_images(IMAGES)
        yield opened


def _run(ledger: Ledger, kind: str = "k") -> int:
    return ledger.add_run(kind_digest=kind, recipe="unet_tiny", parent_id=None, class_digest="c")


# schema


def test_a_new_file_gets_every_migration(path: Path) -> None:
    with Ledger(path):
        pass
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    assert set(tables) == {
        "image", "run", "score", "task", "frame", "issue", "change", "mask_change", "look", "belief", "mark",
        "census", "fact", "proposal",
    }  # fmt: skip
    assert all("STRICT" in sql for sql in tables.values())


def test_opening_again_keeps_the_rows(path: Path) -> None:
    with Ledger(path) as first:
        first.put_images(IMAGES)
    with Ledger(path) as second:
        assert second.images() == {row.sample_id: row for row in IMAGES}


def test_a_newer_schema_is_refused_by_name_and_left_alone(path: Path) -> None:
    with Ledger(path):
        pass
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="schema 99 is newer than this annoloop knows") as caught:
        Ledger(path)
    assert caught.value.where == str(path)
    assert caught.value.hint == "update annoloop"
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0] == 99


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("hello, I am a long enough text to be no database" * 20)
    with pytest.raises(LedgerError, match=r"cannot be opened .*not a database") as caught:
        Ledger(path)
    assert caught.value.where == str(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path / "file" / "ledger.db")


# all or nothing


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def interrupted() -> None:
        with ledger.transaction():
            _run(ledger)
            ledger.add_change("pull", None, [MaskChange("train/a", None, "4" * 64)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ledger.runs() == []
    assert ledger.changes() == []
    _run(ledger)
    assert len(ledger.runs()) == 1


def test_a_transaction_holds_the_write_lock_from_its_beginning(ledger: Ledger, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    with ledger.transaction(), pytest.raises(sqlite3.OperationalError, match="database is locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")


def test_half_a_list_is_not_kept(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.plan_task(TASK, [*FRAMES, FrameRow("train/unknown", "u.png", None, None, "3" * 64, "3" * 64, ())])
    assert ledger.tasks() == []


@pytest.mark.parametrize(
    "breach",
    [
        lambda one: one.put_scores(7, [ScoreRow("train/a", "1", "2", 0.5, np.eye(2, dtype=np.int64))]),
        lambda one: one.add_change("pull", 7, []),
        lambda one: one.add_change("pull", None, [MaskChange("train/unknown", None, "4")]),
        lambda one: one.add_run(kind_digest="k", recipe="r", parent_id=7, class_digest="c"),
    ],
    ids=["score of no run", "change of no task", "mask of no image", "child of no run"],
)
def test_foreign_keys_hold(ledger: Ledger, breach: object) -> None:
    with pytest.raises(LedgerError, match="FOREIGN KEY constraint failed"):
        breach(ledger)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("breach", "message"),
    [
        (lambda one: one.end_run(_run(one), "lost"), "CHECK constraint failed: state"),
        (lambda one: one.add_change("push", None, []), "CHECK constraint failed: kind"),
        (lambda one: one.put_images([ImageRow("x", None, "s", None, None)]), "NOT NULL constraint failed"),  # type: ignore[arg-type]
        (lambda one: [one.plan_task(TASK, []), one.plan_task(TASK, [])], "UNIQUE constraint failed: task.name"),
    ],
)
def test_rows_that_cannot_be_are_refused(ledger: Ledger, path: Path, breach: object, message: str) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        breach(ledger)  # type: ignore[operator]
    assert caught.value.where == str(path)


def test_a_locked_database_is_told_with_advice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **named: connect(file, **{**named, "timeout": 0.05}))
    with Ledger(path) as ledger:
        other = connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="database is locked") as caught:
            ledger.put_images(IMAGES)
        assert caught.value.where == str(path)
        assert caught.value.hint == "wait until it is done, or stop it, and run again"
        other.execute("ROLLBACK")
        ledger.put_images(IMAGES)
        assert len(ledger.images()) == 3


def test_a_full_disk_is_told_and_the_ledger_goes_on(ledger: Ledger, path: Path) -> None:
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    many = [ImageRow(f"train/{i}", "1" * 64, "s" * 500, None, None) for i in range(500)]
    with pytest.raises(LedgerError, match="database or disk is full") as caught:
        ledger.put_images(many)
    assert caught.value.where == str(path)
    ledger._db.execute("PRAGMA max_page_count = 100000")
    assert len(ledger.images()) == 3
    ledger.put_images(many)
    assert len(ledger.images()) == 503


# rows


def test_images_are_updated_in_place(ledger: Ledger) -> None:
    newer = ImageRow("train/a", "9" * 64, "new", None, None)
    ledger.put_images([newer])
    assert ledger.images()["train/a"] == newer
    assert len(ledger.images()) == 3


def test_looks_come_back_as_they_were(ledger: Ledger) -> None:
    first, second = (look(np.random.default_rng(seed).uniform(0, 255, (SIDE, SIDE))) for seed in (1, 2))
    ledger.put_looks({"1" * 64: first})
    ledger.put_looks({"2" * 64: second})
    ledger.put_looks({"2" * 64: second})
    found = ledger.looks()
    assert found.keys() == {"1" * 64, "2" * 64}
    for known, stored in ((first, found["1" * 64]), (second, found["2" * 64])):
        assert (known.bits.tobytes(), known.grey.tolist()) == (stored.bits.tobytes(), stored.grey.tolist())


@pytest.mark.parametrize("side", [1, 2, 20, 255])
def test_scores_come_back_as_they_were(ledger: Ledger, side: int) -> None:
    run = _run(ledger)
    counts = np.random.default_rng(0).integers(0, 2**40, (side, side))
    ledger.put_scores(run, [ScoreRow("train/a", "1", "2", 0.5, counts), ScoreRow("train/b", "1", "2", 1.0, counts.T)])
    ledger.put_scores(run, [ScoreRow("train/b", "1", "3", 0.0, counts)])
    found = ledger.scores(run)
    assert found.keys() == {"train/a", "train/b"}
    assert np.array_equal(found["train/a"].confusion, counts)
    assert found["train/a"].confusion.dtype == np.int64
    assert (found["train/b"].dice, found["train/b"].mask_sha256) == (0.0, "3")


def test_the_newest_promoted_run_is_the_current_one(ledger: Ledger) -> None:
    assert ledger.current_run() is None
    first, second, third = _run(ledger), _run(ledger), _run(ledger)
    ledger.judge_run(first, val_dice=0.5, promoted=True, verdict="first")
    ledger.judge_run(second, val_dice=0.7, promoted=True, verdict="better")
    ledger.judge_run(third, val_dice=0.6, promoted=False, verdict="worse")
    current = ledger.current_run()
    assert current is not None
    assert (current.id, current.val_dice, current.promoted, current.state) == (second, 0.7, True, "finished")
    assert [r.promoted for r in ledger.runs()] == [True, True, False]


def test_no_such_run_says_what_to_do(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="there is no run 5") as caught:
        ledger.run(5)
    assert caught.value.hint == "annoloop log lists the runs"


@pytest.mark.parametrize(
    ("states", "resumed"),
    [
        (["running"], True),
        (["stopped"], True),
        (["stopped", "failed"], True),
        (["failed"], False),
        (["finished"], False),
        (["stopped", "finished"], False),
    ],
)
def test_a_cut_off_run_is_resumed_unless_a_newer_one_finished(ledger: Ledger, states: list[str], resumed: bool) -> None:
    for state in states:
        ledger.end_run(_run(ledger), state)
    found = ledger.unfinished_run("k")
    assert (found is not None) == resumed
    assert ledger.unfinished_run("another") is None


def test_a_task_is_planned_pushed_and_pulled(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    assert ledger.frames(task) == FRAMES
    (row,) = ledger.tasks()
    assert (row.id, row.state, row.cvat_id, row.name) == (task, "planned", None, "worst 2")
    assert (row.shape, row.tolerance_px, row.min_region_px) == ("polygon", 1.5, 16)
    assert ledger.half_pushed_tasks() == [row]
    assert ledger.samples_in_open_tasks() == {"train/a", "train/b"}
    assert ledger.samples_in_open_tasks(other_than=task) == set()

    ledger.set_task(task, "open", 12)
    assert ledger.half_pushed_tasks() == []
    changed = FrameRow("train/a", "a.png", 0.25, "5" * 64, "5" * 64, "3" * 64, ("car:99",), "changed")
    ledger.put_frames(task, [changed])
    assert ledger.frames(task) == [changed, FRAMES[1]]
    assert ledger.samples_in_open_tasks() == {"train/b"}

    ledger.set_task(task, "done", 12)
    assert ledger.samples_in_open_tasks() == set()
    assert ledger.tasks()[0].cvat_id == 12


@pytest.mark.parametrize("state", ["planned", "created", "uploaded", "annotated", "verified", "open", "done", "lost"])
def test_a_push_that_was_cut_off_is_known_as_half_made(ledger: Ledger, state: str) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    ledger.set_task(task, state, None)
    assert [t.id for t in ledger.half_pushed_tasks()] == ([] if state in ("open", "done", "lost") else [task])


def test_issues_are_planned_pinned_and_resolved(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES, ISSUES)
    assert ledger.issues(task) == ISSUES
    pinned = [replace(issue, cvat_id=number, state="settled") for number, issue in enumerate(ISSUES, 7)]
    ledger.put_issues(task, pinned)
    assert ledger.issues(task) == pinned
    assert ledger.tasks_with_untold_issues() == {task}
    ledger.put_issues(task, [replace(issue, state="resolved") for issue in pinned])
    assert ledger.tasks_with_untold_issues() == set()
    with pytest.raises(LedgerError, match="CHECK constraint failed"):
        ledger.put_issues(task, [replace(ISSUES[0], state="forgotten")])


def test_the_task_that_brought_a_mask_is_known(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    ledger.set_task(task, "open", 12)
    ledger.add_change("pull", task, [MaskChange("train/a", "2" * 64, "4" * 64)])
    assert ledger.task_that_wrote("train/a", "4" * 64) == 12
    assert ledger.task_that_wrote("train/a", "2" * 64) is None
    assert ledger.task_that_wrote("train/b", "4" * 64) is None


def test_a_ledger_of_the_first_schema_keeps_its_rows(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO image VALUES ('train/a', 'i', 's', 'm', 't')")
    old.execute("INSERT INTO task VALUES (3, 'worst 1', 'p', 'open', 'prediction', NULL, 'c', 'http://x', 12, '2026')")
    old.execute("INSERT INTO frame VALUES (3, 'train/a', 'a.png', 0.5, 'base', 'pushed', '[\"car:1\"]', 'open')")
    old.execute("INSERT INTO change VALUES (1, 'pull', 3, NULL, '2026')")
    old.execute("INSERT INTO mask_change VALUES (1, 'train/a', 'old', 'new', 0)")
    old.close()
    with Ledger(path) as ledger:
        (task,) = ledger.tasks()
        assert (task.id, task.cvat_id, task.state, task.shape) == (3, 12, "open", "mask")
        (frame,) = ledger.frames(3)
        assert frame == FrameRow("train/a", "a.png", 0.5, "base", "pushed", "pushed", ("car:1",))
        assert [change.task_id for change in ledger.changes()] == [3]
        assert ledger.unwritten() == [(1, MaskChange("train/a", "old", "new"))]
        assert ledger.issues(3) == []
        ledger.set_task(3, "annotated", 12)
        with pytest.raises(LedgerError, match="FOREIGN KEY"):
            ledger.add_change("pull", 4, [])


def test_a_ledger_of_the_second_schema_keeps_its_rows_and_learns_looks(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1]):
        old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute("INSERT INTO image VALUES ('train/a', 'i', 's', 'm', 't')")
    task_row = "(3, 'w', 'p', 'verified', 'prediction', NULL, 'c', 'http://x', 12, '2026', 'polygon', 2.5, 16)"
    old.execute(f"INSERT INTO task VALUES {task_row}")
    old.execute("INSERT INTO frame VALUES (3, 'train/a', 'a.png', 0.5, 'base', 'pushed', '[]', 'open', 'sent')")
    old.execute("INSERT INTO issue VALUES (3, 'train/a', 0, 'car missed', '[0, 1]', 7, 'settled')")
    old.close()
    with Ledger(path) as ledger:
        assert ledger.images() == {"train/a": ImageRow("train/a", "i", "s", "m", "t")}
        (task,) = ledger.half_pushed_tasks()
        assert (task.id, task.cvat_id, task.shape, task.tolerance_px) == (3, 12, "polygon", 2.5)
        assert ledger.frames(3) == [FrameRow("train/a", "a.png", 0.5, "base", "pushed", "sent", ())]
        assert ledger.issues(3) == [IssueRow("train/a", 0, "car missed", (0, 1), 7, "settled")]
        assert ledger.looks() == {}
        ledger.put_looks({"i": look(np.zeros((SIDE, SIDE)))})
        assert ledger.looks().keys() == {"i"}


def test_a_ledger_of_the_third_schema_keeps_its_frames_and_learns_where_they_are(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1], *MIGRATIONS[2]):
        old.execute(statement)
    old.execute("PRAGMA user_version = 3")
    old.execute("INSERT INTO image VALUES ('train/a', 'i', 's', 'm', 't')")
    task_row = "(3, 'w', 'p', 'open', 'prediction', NULL, 'c', 'http://x', 12, '2026', 'mask', 0, 0)"
    old.execute(f"INSERT INTO task VALUES {task_row}")
    old.execute("INSERT INTO frame VALUES (3, 'train/a', 'a.png', 0.5, 'base', 'pushed', '[]', 'open', 'sent', NULL)")
    old.close()
    with Ledger(path) as ledger:
        assert ledger.open_places() == {"train/a": FramePlace("train/a", "http://x", 12, None, None)}
        ledger.place_frames(3, [("train/a", 40, 7)])
        assert ledger.open_places() == {"train/a": FramePlace("train/a", "http://x", 12, 40, 7)}
        assert ledger.marks() == {}


def test_a_ledger_of_the_fourth_schema_keeps_its_scores_and_learns_their_wrong_pixels(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    for statement in (one for version in MIGRATIONS[:4] for one in version):
        old.execute(statement)
    old.execute("PRAGMA user_version = 4")
    old.executemany("INSERT INTO image VALUES (?, 'i', 's', 'm', 't')", [("train/a",), ("train/b",)])
    old.execute("INSERT INTO run (id, kind_digest, state, recipe, class_digest, started_at)"
                " VALUES (1, 'k', 'finished', 'unet', 'c', '2026')")  # fmt: skip
    counts = {"train/a": np.array([[7, 1], [0, 2]]), "train/b": np.array([[5, 3], [0, 2]])}
    packed = {name: zlib.compress(one.astype("<i8").tobytes()) for name, one in counts.items()}
    old.executemany("INSERT INTO score VALUES (1, ?, 'i', 'm', 0.5, ?)", packed.items())
    old.close()
    with Ledger(path) as ledger:
        assert list(ledger.worst_first(1)) == [Candidate("train/b", 0.5, 3), Candidate("train/a", 0.5, 1)]
        assert {name: one.confusion.tolist() for name, one in ledger.scores(1).items()} == {
            name: one.tolist() for name, one in counts.items()
        }
        assert ledger.census("x") is None


def test_a_sample_is_scored_anew_when_its_image_or_its_mask_is_another(ledger: Ledger) -> None:
    run, counts = _run(ledger), np.eye(2, dtype=np.int64)
    ledger.put_scores(run, [ScoreRow("train/a", "1" * 64, "2" * 64, 0.5, counts),
                            ScoreRow("train/b", "1" * 64, "3" * 64, 0.5, counts)])  # fmt: skip
    names = ["train/a", "train/b", "train/c"]
    assert ledger.unscored(run, names) == {"train/b", "train/c"}
    assert ledger.unscored(run, names[:1]) == set()
    assert ledger.unscored(run + 1, names) == set(names)
    ledger.put_images([replace(IMAGES[0], image_sha256="9" * 64)])
    assert ledger.unscored(run, names) == set(names)


def test_only_what_was_asked_for_comes(ledger: Ledger) -> None:
    run = _run(ledger)
    ledger.put_scores(run, [ScoreRow(one.sample_id, "1", "2", 0.5, np.eye(2, dtype=np.int64)) for one in IMAGES])
    ledger.put_looks({digit * 64: look(np.zeros((SIDE, SIDE))) for digit in "12"})
    task = ledger.plan_task(TASK, FRAMES)
    assert ledger.images(["train/b", "train/x"]).keys() == {"train/b"}
    assert ledger.scores(run, ["train/c"]).keys() == {"train/c"}
    assert ledger.looks(["2" * 64, "3" * 64]).keys() == {"2" * 64}
    assert ledger.samples_in_open_tasks(among=["train/b", "train/c"]) == {"train/b"}
    assert ledger.samples_in_open_tasks(among=["train/b"], other_than=task) == set()
    assert ledger.images([]) == {}


def test_the_worst_come_first_and_no_run_has_anothers_scores(ledger: Ledger) -> None:
    first, second = _run(ledger), _run(ledger)
    wrong = [np.array([[0, px], [0, 9]]) for px in (1, 4, 4)]
    rows = [ScoreRow(name, "1", "2", 0.5, counts) for name, counts in zip("cba", wrong, strict=True)]
    rows = [replace(one, sample_id=f"train/{one.sample_id}") for one in rows]
    ledger.put_scores(first, rows)
    ledger.put_scores(second, [replace(rows[0], dice=0.25)])
    assert [one.sample_id for one in ledger.worst_first(first)] == ["train/a", "train/b", "train/c"]
    assert [one.sample_id for one in ledger.worst_first(first, ["train/c", "train/b"])] == ["train/b", "train/c"]
    assert list(ledger.worst_first(second)) == [Candidate("train/c", 0.25, 1)]


def test_reading_the_worst_in_pages_leaves_none_out_and_stands_in_nobodys_way(ledger: Ledger, path: Path) -> None:
    run, counts = _run(ledger), np.eye(2, dtype=np.int64)
    names = [f"train/{number:04d}" for number in range(3500)]
    ledger.put_images(replace(IMAGES[0], sample_id=name) for name in names)
    ledger.put_scores(run, [ScoreRow(name, "1", "2", 1 - i / 3500, counts) for i, name in enumerate(names)])
    worst = ledger.worst_first(run)
    found = [next(worst).sample_id]
    with Ledger(path) as other:
        other.put_marks(add=["train/0001"])
    ledger.put_marks(add=["train/0002"])
    found += [one.sample_id for one in worst]
    assert found == names[::-1]


def test_frames_and_changed_masks_are_counted(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    ledger.put_frames(task, [replace(FRAMES[0], state="changed")])
    assert ledger.frame_states(task) == {"changed": 1, "open": 1}
    assert ledger.frame_states(task + 1) == {}
    number = ledger.add_change("pull", task, [MaskChange("train/a", None, "4" * 64), MaskChange("train/b", None, "4")])
    (change,) = ledger.changes()
    assert ledger.masks_changed_since("2026") == change.masks == 2
    assert ledger.masks_changed_since(change.made_at) == 0
    assert number == change.id


def test_a_belief_belongs_to_a_run_an_image_a_mask_and_an_opinion(ledger: Ledger) -> None:
    run = ledger.add_run(kind_digest="k", recipe="unet", parent_id=None, class_digest="c")
    rows = [
        BeliefRow("1" * 64, "2" * 64, False, Belief(0.25, 0.5, 0.125)),
        BeliefRow("1" * 64, "2" * 64, True, Belief(0.125, 0.5, 0.25)),
        BeliefRow("1" * 64, "", False, Belief(math.nan, 0.75, math.nan)),
    ]
    ledger.put_beliefs(run, rows)
    ledger.put_beliefs(run, rows[:1])
    found = {(row.mask_sha256, row.out_of_fold): row for row in ledger.beliefs(run)}
    assert found["2" * 64, False] == rows[0]
    assert found["2" * 64, True] == rows[1]
    assert math.isnan(found["", False].belief.quality)
    assert len(found) == 3
    assert ledger.beliefs(run + 1) == []


def test_marks_are_set_once_and_taken_away(ledger: Ledger) -> None:
    ledger.put_marks(add=["train/a", "train/b"])
    before = ledger.marks()
    ledger.put_marks(add=["train/a"], remove=["train/b"])
    assert ledger.marks() == {"train/a": before["train/a"]}
    with pytest.raises(LedgerError, match="FOREIGN KEY"):
        ledger.put_marks(add=["train/unknown"])


def test_a_sample_is_placed_where_it_waits_and_nowhere_when_it_is_done(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    assert ledger.open_places() == {}, "it has no number in CVAT yet"
    ledger.set_task(task, "open", 12)
    ledger.place_frames(task, [("train/a", 31, 0)])
    places = ledger.open_places()
    assert (places["train/a"].task, places["train/a"].job, places["train/a"].number) == (12, 31, 0)
    assert (places["train/b"].job, places["train/b"].number) == (None, None)
    ledger.put_frames(task, [replace(FRAMES[0], state="changed")])
    assert set(ledger.open_places()) == {"train/b"}
    ledger.set_task(task, "done", 12)
    assert ledger.open_places() == {}


def test_the_history_of_masks_names_the_task_that_changed_them(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    ledger.set_task(task, "open", 12)
    pulled = ledger.add_change("pull", task, [MaskChange("train/a", "2" * 64, "4" * 64)])
    undone = ledger.add_change("undo", None, [MaskChange("train/a", "4" * 64, None)])
    assert [(e.sample_id, e.change_id, e.kind, e.task, e.new_sha256) for e in ledger.mask_events()] == [
        ("train/a", pulled, "pull", 12, "4" * 64),
        ("train/a", undone, "undo", None, None),
    ]


def test_a_mask_counts_as_corrected_as_annotators_left_it(ledger: Ledger) -> None:
    task = ledger.plan_task(TASK, FRAMES)
    assert ledger.corrected() == set()
    for state, corrected in (("changed", True), ("accepted", True), ("kept", False), ("deleted", False)):
        ledger.put_frames(task, [replace(FRAMES[0], pushed_sha256="5" * 64, state=state)])
        assert ledger.corrected() == ({("train/a", "5" * 64)} if corrected else set())


def test_what_a_pushed_frame_looked_like_is_kept(ledger: Ledger) -> None:
    frames = [replace(FRAMES[0], reading="label looks wrong"), FRAMES[1]]
    assert ledger.frames(ledger.plan_task(TASK, frames)) == frames


def test_a_first_mask_may_go_again(ledger: Ledger) -> None:
    back = [MaskChange("train/a", "4" * 64, None), MaskChange("train/b", None, None)]
    number = ledger.add_change("undo", None, back)
    assert ledger.unwritten() == [(number, one) for one in back]


def test_a_change_is_unwritten_until_it_is_marked(ledger: Ledger) -> None:
    changes = [MaskChange("train/a", "2" * 64, "4" * 64), MaskChange("train/b", None, "4" * 64)]
    number = ledger.add_change("pull", None, changes)
    assert ledger.unwritten() == [(number, one) for one in changes]
    ledger.mark_written(number, "train/a")
    assert ledger.unwritten() == [(number, changes[1])]
    assert ledger.mask_changes(number) == changes
    undo = ledger.add_change("undo", None, [])
    ledger.mark_undone(number, undo)
    assert [(c.id, c.kind, c.undone_by, c.masks) for c in ledger.changes()] == [
        (number, "pull", undo, 2),
        (undo, "undo", None, 0),
    ]


def test_a_full_disk_is_told_with_the_folder_that_has_no_room(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger._execute("PRAGMA max_page_count = 1")  # SQLite's own way to have no room
        with pytest.raises(LedgerError, match=f"no room left on the disk of {path.parent}") as caught:
            ledger.put_facts([FactRow(f"{n}", "s", "i", bytes(5000)) for n in range(100)])
        assert caught.value.hint == "make room there, or raise the quota; then the same command goes on"
        assert ledger.facts(["0"]) == []


@pytest.mark.parametrize(("free", "said"), [(0, "no room left on the disk of"), (1 << 30, "disk I/O error")])
def test_an_io_error_is_a_full_disk_where_there_is_no_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, free: int, said: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with Ledger(path) as ledger:
        assert ledger._failed(error).message.startswith(said)
        assert ledger._failed(error).hint


def test_a_ledger_of_the_eighth_schema_keeps_its_frames_and_learns_tiles(path: Path) -> None:
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    old.create_function("wrong_px", 1, lambda blob: 0)
    for statement in (one for version in MIGRATIONS[:8] for one in version):
        old.execute(statement)
    old.execute("PRAGMA user_version = 8")
    old.executemany("INSERT INTO image VALUES (?, 'i', 's', 'm', 't')", [("train/a",), ("train/b",)])
    names = "id, name, plan_digest, state, source, class_digest, server, created_at, shape, tolerance_px, min_region_px"
    task_row = "3, 'w', 'p', 'open', 'label', 'c', 'x', '2026', 'mask', 0, 0"
    old.execute(f"INSERT INTO task ({names}) VALUES ({task_row})")
    old.execute("INSERT INTO frame (task_id, sample_id, name, pushed_sha256, shapes, sent_sha256)"
                " VALUES (3, 'train/a', 'a.png', 'pushed', '[\"car:1\"]', 'sent')")  # fmt: skip
    old.close()
    tiles = (Tile((0, 0, 64, 64), (0, 0, 56, 64)), Tile((48, 0, 112, 64), (56, 0, 112, 64)))
    row = FrameRow("train/b", "b.jpg", None, None, "2" * 64, "3" * 64, ("0@car:1", "1@car:2", "1@tree:0"), tiles=tiles)
    with Ledger(path) as ledger:
        (frame,) = ledger.frames(3)
        assert (frame.shapes, frame.tiles, frame.parts) == (("car:1",), (), (frame,))
        task = ledger.plan_task(TASK, [row])
        assert ledger.frames(task) == [row]
        first, second = ledger.frames(task)[0].parts
        assert (first.name, first.shapes, first.window) == ("b@y00000x00000.jpg", ("car:1",), tiles[0])
        assert (second.name, second.shapes) == ("b@y00000x00048.jpg", ("car:2", "tree:0"))
        assert row.plain_shapes == ("car:1", "car:2", "tree:0")
