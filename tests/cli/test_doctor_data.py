"""doctor is the gate: what eda calls a fault ends it with 9, what eda calls a remark does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annoloop.cli.doctor import doctor
from annoloop.cli.main import run
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.eda.eda import eda
from annoloop.eda.findings import KINDS
from annoloop.project.project import Project, open_project

SIZE_HW = (40, 56)


def _mask(path: Path, *values: int) -> None:
    label_map = np.zeros(SIZE_HW, np.uint8)
    for number, value in enumerate(values):
        label_map[10 + 12 * number :, 20:] = value
    write_atomic(path, encode_index_png(IndexImage(label_map)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, both in train and in val, and nothing wrong."""
    rng, data = np.random.default_rng(0), tmp_path / "data"
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            path = data / "img_dir" / split / f"{split}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (*SIZE_HW, 3), np.uint8)).save(path)
            _mask(data / "ann_dir" / split / f"{split}_{number}.png", 1, 2)
    assert run(["init", str(data), "--classes", "background,disc,block", "--project", str(tmp_path)]) == 0
    return tmp_path


def _class_in_val_only(data: Path) -> None:
    for number in range(3):
        _mask(data / "ann_dir" / "train" / f"train_{number}.png", 1)


def _class_nowhere(data: Path) -> None:
    for path in (data / "ann_dir").rglob("*.png"):
        _mask(path, 1)


def _all_ignored(data: Path) -> None:
    write_atomic(data / "ann_dir/train/train_0.png", encode_index_png(IndexImage(np.full(SIZE_HW, 255, np.uint8))))


def _leak(data: Path) -> None:
    shutil.copy(data / "img_dir/train/train_0.png", data / "img_dir/val/val_0.png")


def _black_and_white(data: Path) -> None:
    _mask(data / "ann_dir/train/train_0.png", 255)


PLANTED: dict[str, Any] = {
    "class not in train": _class_in_val_only,
    "class nowhere": _class_nowhere,
    "all ignored": _all_ignored,
    "leak": _leak,
    "black and white mask": _black_and_white,
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_fault_of_eda_ends_doctor_with_9(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    PLANTED[kind](folder / "data")
    assert KINDS[kind].severity == "fault"
    assert run(["doctor", "--no-measure", "--project", str(folder)]) == 9
    assert kind in capsys.readouterr().out


def test_a_remark_of_eda_does_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "data/img_dir/train/train_0.png", folder / "data/img_dir/train/notes.psd")
    assert run(["doctor", "--no-measure", "--project", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "0 faults, 1 worth a look" in said
    assert "other suffix" in said


def test_doctor_and_eda_count_the_same(folder: Path) -> None:
    for plant in PLANTED.values():
        plant(folder / "data")
    with open_project(folder) as project:
        report, checks = eda(project), _data_checks(project)
    named = [check for check in checks if check.name in KINDS]
    assert {check.name for check in named} == set(report.counts)
    assert sum(check.state == "fault" for check in named) == report.faults
    assert {check.name for check in named if check.state == "fault"} == {
        kind for kind in report.counts if KINDS[kind].severity == "fault"
    }


def _data_checks(project: Project) -> list[Any]:
    checks = list(doctor(project, measure=False).checks)
    return checks[next(number for number, check in enumerate(checks) if check.name == "data") :]
