"""Folders, prefixes and suffixes of each split: read, refused, paired, written and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.data.config import FILE_NAME, Config, DataConfig, checked, load, render
from annoloop.data.data_section import Place
from annoloop.data.mmseg_folders import count_samples, list_samples, mask_name_of, shown_name
from annoloop.errors import ConfigError, DataError
from annoloop.project.files import ProjectFiles

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.]{0,6}", fullmatch=True)
BOTH = {"train": "train", "val": "val"}


def _files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _pairs(data: DataConfig) -> dict[str, tuple[str, str | None]]:
    root = Path(str(data.root))
    return {
        s.id: (str(Path(str(s.image)).relative_to(root)), s.mask and str(Path(str(s.mask)).relative_to(root)))
        for s in list_samples(data).samples
    }


@given(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["", "img_"]), st.sampled_from([".jpg", "_a.png"]))
def test_a_stem_and_its_names_belong_together(parts: list[str], prefix: str, suffix: str) -> None:
    place, stem = Place("i", "m", prefix, f"x{prefix}", (suffix,), f"_m{suffix}", None), "/".join(parts)
    assert place.stem_of_image(place.image_names(stem)[0]) == stem
    assert place.stem_of_mask(place.mask_name(stem)) == stem


def test_every_split_may_have_its_own_folders_and_suffixes(tmp_path: Path) -> None:
    root = _files(
        tmp_path, "train/pics/s/img_1.jpg", "train/gt/s/m_1.png", "val/2_val.png", "valannot/m_2.png", "val/3_val.png"
    )
    data = checked(
        {
            "root": root,
            "image_dir": {"train": "train/pics", "val": "val"},
            "mask_dir": {"train": "train/gt", "val": "valannot"},
            "image_prefix": {"train": "img_"},
            "mask_prefix": "m_",
            "image_suffix": {"train": [".jpeg", ".jpg"], "val": "_val.png"},
            "splits": {"train": ".", "val": "."},
        }
    )
    assert _pairs(data) == {
        "train/s/1": ("train/pics/s/img_1.jpg", "train/gt/s/m_1.png"),
        "val/2": ("val/2_val.png", "valannot/m_2.png"),
        "val/3": ("val/3_val.png", None),
    }
    assert [count_samples(data, split) for split in ("train", "val")] == [(1, 1), (2, 1)]
    config = Config(project="p", data=data, classes=[{"name": "a"}])
    (tmp_path / FILE_NAME).write_text(render(config), encoding="utf-8")
    assert load(tmp_path / FILE_NAME) == config
    files = ProjectFiles(tmp_path / FILE_NAME, config)
    assert files.image_path("train/s/1") == root / "train/pics/s/img_1.jpg"
    assert files.mask_path("val/2") == root / "valannot/m_2.png"
    assert shown_name("train/s/1", files.image_path("train/s/1"), data) == "train/s/1.jpg"
    assert mask_name_of("train/s/1.jpg", data) == "train/s/m_1.png"


def test_masks_in_the_folder_of_the_images_are_no_images(tmp_path: Path) -> None:
    root = _files(tmp_path, "train/a.png", "train/a_mask.png", "train/b.png", "train/notes.txt")
    data = checked(
        {"root": root, "image_dir": ".", "mask_dir": ".", "image_suffix": ".png", "mask_suffix": "_mask.png"}
        | {"splits": {"train": "train"}}
    )
    assert _pairs(data) == {"train/a": ("train/a.png", "train/a_mask.png"), "train/b": ("train/b.png", None)}
    assert [fault.kind for fault in list_samples(data).faults] == ["missing mask"]
    assert count_samples(data, "train") == (2, 1)


def test_masks_below_the_images_are_no_images(tmp_path: Path) -> None:
    root = _files(tmp_path, "a.png", "masks/a.png")
    data = checked(
        {"root": root, "image_dir": ".", "mask_dir": "masks", "image_suffix": ".png", "splits": {"train": "."}}
    )
    assert _pairs(data) == {"train/a": ("a.png", "masks/a.png")}


@pytest.mark.parametrize("listed", [False, True])
def test_two_images_with_one_mask_are_refused(tmp_path: Path, listed: bool) -> None:
    root = _files(tmp_path, "i/a.png", "i/a.jpg", "m/a.png")
    (root / "train.txt").write_text("a\n")
    data = checked(
        {"root": root, "image_dir": "i", "mask_dir": "m", "image_suffix": [".jpg", ".png"]}
        | {"splits": {"train": "train.txt" if listed else "."}}
    )
    with pytest.raises(DataError, match=r"two images have one mask: .*a\.(jpg|png) and .*a\.(jpg|png)"):
        list_samples(data)


def test_splits_that_share_masks_but_not_images_are_refused(tmp_path: Path) -> None:
    root = _files(tmp_path, "i/train/a.jpg", "i/val/a.jpg", "m/a.png")
    data = checked(
        {"root": root, "image_dir": {s: f"i/{s}" for s in BOTH}, "mask_dir": "m", "splits": {"train": ".", "val": "."}}
    )
    with pytest.raises(DataError, match="two images have one mask"):
        list_samples(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_dir": {"train": "a"}}, "image_dir says nothing of the split val"),
        ({"mask_dir": {"train": "a", "val": "b", "test": "c"}}, "mask_dir names test, which splits does not"),
        ({"mask_suffix": ".gif"}, "masks named .gif cannot be written"),
        ({"mask_suffix": ".jpg"}, "are JPEGs, which store values only about"),
        (
            {"mask_suffix": ".jpg", "nearest": True, "values": {0: 0, 9: 1}},
            "they must be 16 apart or more, 9 is nearer",
        ),
        ({"mask_suffix": {"train": ".png", "val": ".tif"}}, "of one format"),
        ({"values": {255: 1}, "reduce_zero_label": True}, "values or reduce_zero_label, not both"),
        ({"nearest": True}, "nearest needs values"),
        ({"values": {65_536: 1}}, "less than or equal to 65535"),
        ({"image_suffix": []}, "must name a suffix"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked({"root": ".", "splits": BOTH, **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "ignore_index", "message"),
    [({255: 2}, 255, "2 is no class; classes are 0 … 1"), ({7: 1}, 7, "no stored value is left for ignored pixels, 7")],
)
def test_values_mean_classes(tmp_path: Path, values: dict[int, int], ignore_index: int, message: str) -> None:
    text = (
        f"project: p\ndata: {{root: ., splits: {{train: .}}, values: {values}}}\nclasses: [{{name: a}}, {{name: b}}]\n"
    )
    (tmp_path / FILE_NAME).write_text(f"{text}ignore_index: {ignore_index}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / FILE_NAME)
    assert message in str(caught.value)
