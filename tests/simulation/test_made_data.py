"""The made data: what the demo promises about it, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annoloop.data.images import read_image, read_index_png
from annoloop.simulation.made_data import NAMES, MadeData, make_data


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> MadeData:
    return make_data(tmp_path_factory.mktemp("many"), {"train": 30, "test": 30}, seed=1)


def _masks(folder: Path) -> dict[str, np.ndarray]:
    return {p.relative_to(folder).with_suffix("").as_posix(): read_index_png(p).values for p in folder.rglob("*.png")}


def test_every_image_has_a_label_and_a_truth_of_its_size(many: MadeData) -> None:
    labels, truths = _masks(many.root / "ann_dir"), _masks(many.truth)
    assert labels.keys() == truths.keys()
    assert len(labels) == 60
    for name, label in labels.items():
        assert read_image(many.root / "img_dir" / f"{name}.png").shape == (*label.shape, 3)


def test_damaged_names_exactly_the_labels_that_differ_and_only_train(many: MadeData) -> None:
    labels, truths = _masks(many.root / "ann_dir"), _masks(many.truth)
    wrong = {name for name in labels if not np.array_equal(labels[name], truths[name])}
    assert wrong == set(many.damaged)
    assert all(name.startswith("train/") for name in wrong)
    assert 10 <= len(wrong) <= 25


def test_about_nine_tenths_are_background_and_every_class_occurs(many: MadeData) -> None:
    values = np.concatenate([mask.ravel() for mask in _masks(many.truth).values()])
    assert 0.85 < many.background_share < 0.95
    assert np.mean(values == 0) == pytest.approx(many.background_share)
    assert set(np.unique(values)) == set(range(len(NAMES)))


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path, made: MadeData) -> None:
    again = [make_data(tmp_path / name, {"train": 2}, size_hw=(40, 56), seed=seed) for name, seed in
             (("a", 5), ("b", 5), ("c", 6))]  # fmt: skip
    first, second, other = ([p.read_bytes() for p in sorted(m.root.rglob("*.png"))] for m in again)
    assert first == second != other
