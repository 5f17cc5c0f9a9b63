"""Layouts made at random are found again, whatever folders, names, suffixes and splits are called."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from annoloop.data.config import checked
from annoloop.data.folders import folder, tree
from annoloop.data.images import IMAGE_SUFFIXES, sha256
from annoloop.data.layouts.discovery import choose
from annoloop.data.layouts.file_kinds import Seen
from annoloop.data.layouts.layout_splits import may_be_list, splits_of
from annoloop.data.layouts.pairings import Pictures
from annoloop.data.mmseg_folders import list_samples

IMAGE_WORDS = ("img_dir", "images", "JPEGImages", "Image", "photos", "x")
MASK_WORDS = ("ann_dir", "masks", "SegmentationClass", "Labels", "gt", "y")
SPLITS = {
    "train": ("train", "training", "Train"),
    "val": ("val", "valid", "Validation"),
    "test": ("test", "testing"),
}
DROPPINGS = (".DS_Store", "._a.png", "Thumbs.db", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/img/._b.jpg")
STEMS = st.from_regex(r"[a-zA-Z]{1,4}_?[0-9]{1,5}(_[0-9]{1,3})?", fullmatch=True)


@dataclass
class Made:
    """Names of files by what they are, and which samples should come out of them."""

    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    rivals: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    expected: dict[str, set[tuple[str, str | None]]] = field(default_factory=dict)

    def look(self, name: str) -> Seen:
        """What a look at the pixels would tell."""
        return Seen("photo", 0.05) if name in self.images.values() else Seen("index", 0.9)

    def write(self, root: Path) -> None:
        """Empty files: only names count."""
        for name in (*self.images.values(), *self.masks.values(), *self.rivals, *self.others, *self.texts):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.texts.get(name, ""), encoding="utf-8")


@st.composite
def layouts(draw: st.DrawFn) -> Made:
    """A tree of images and masks in one of the ways that people have."""
    made = Made()
    above = draw(st.lists(st.sampled_from(["data", "v1", "Set A"]), max_size=2, unique=True))
    one_folder = draw(st.booleans())
    position = draw(st.sampled_from(["none", "below", "above", "joined", "lists"]))
    city = draw(st.sampled_from([(), ("aachen",), ("a", "b")])) if position in ("none", "below") else ()
    image_end = draw(st.sampled_from(IMAGE_SUFFIXES)).upper() if draw(st.booleans()) else ".jpg"
    ends = [f"{mark}{image_end}" for mark in ("", "_leftImg8bit", "_0000", "_image")]
    image_suffix = draw(st.sampled_from(ends))
    marks = ("_mask", "_gtFine_labelTrainIds", ".ah", "-seg", *(() if one_folder else ("",)))
    mask_suffix = f"{draw(st.sampled_from(marks))}{draw(st.sampled_from(['.png', '.PNG', '.tif', '.bmp']))}"
    prefixes = ("", "") if one_folder else draw(st.sampled_from([("", ""), ("img_", "mask_"), ("", "label_")]))
    folders = [draw(st.sampled_from(words)) for words in (IMAGE_WORDS, MASK_WORDS)]
    names = {split: draw(st.sampled_from(words)) for split, words in SPLITS.items()}
    wanted = ["train"] if position == "none" else draw(st.sampled_from([["train", "val"], ["train", "val", "test"]]))
    stems = draw(st.lists(STEMS, min_size=2 * len(wanted), max_size=5 * len(wanted), unique_by=str.lower))
    other_end = draw(st.sampled_from([image_end, image_end, ".webp"]))
    rival = draw(st.sampled_from(["", "", "_instanceIds.png", "_color.png"]))
    unlabelled = draw(st.sampled_from([0, 0, 7]))
    for number, stem in enumerate(stems):
        split = wanted[number % len(wanted)]
        places = _places(above, folders, names[split], position, one_folder=one_folder)
        suffix = image_suffix.replace(image_end, other_end) if number % 3 == 2 else image_suffix
        town = city[number % len(city)] if city else ""
        image, mask = (
            "/".join(filter(None, (place, town, f"{prefix}{stem}{suffix}")))
            for place, prefix, suffix in zip(places, prefixes, (suffix, mask_suffix), strict=True)
        )
        made.images[stem], made.masks[stem] = image, mask
        made.expected.setdefault(split, set()).add((image, mask))
        if rival:
            made.rivals.add("/".join(filter(None, (places[1], town, f"{prefixes[1]}{stem}{rival}"))))
        if unlabelled and number == unlabelled and position != "lists":
            del made.masks[stem]
            made.expected[split] = made.expected[split] - {(image, mask)} | {(image, None)}
    if position == "lists":
        _lists(draw, made, above, stems, wanted)
    made.others = {draw(st.sampled_from(DROPPINGS)), "README.md"}
    return made


def _places(above: list[str], folders: list[str], split: str, position: str, *, one_folder: bool) -> list[str]:
    """Where images and masks of a split lie."""
    if one_folder:
        return ["/".join([*above, *([split] if position not in ("none", "lists") else ["pictures"])])] * 2
    ways = {
        "none": lambda word: [word],
        "lists": lambda word: [word],
        "below": lambda word: [word, split],
        "above": lambda word: [split, word],
        "joined": lambda word: [f"{split}_{word}"],
    }
    return ["/".join([*above, *ways[position](word)]) for word in folders]


def _lists(draw: st.DrawFn, made: Made, above: list[str], stems: list[str], wanted: list[str]) -> None:
    where = draw(st.sampled_from(["", "splits/", "ImageSets/Segmentation/"]))
    way = draw(st.sampled_from(["stem", "file", "path", "pair"]))
    for split in wanted:
        lines = []
        for stem in (one for number, one in enumerate(stems) if wanted[number % len(wanted)] == split):
            image, mask = made.images[stem], made.masks[stem]
            last = image.rpartition("/")[2]
            lines.append(
                {
                    "stem": stem if last.startswith(stem) else last,
                    "file": last,
                    "path": image,
                    "pair": f"/home/me/{image} /home/me/{mask}",
                }[way]
            )
        bom = "\ufeff" if draw(st.booleans()) else ""
        made.texts["/".join([*above, f"{where}{split}.txt"])] = bom + draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def _found(root: Path, made: Made) -> dict[str, set[tuple[str, str | None]]]:
    names = tree(folder(root))
    choice = choose(Pictures(names, IMAGE_SUFFIXES), made.look)
    assert choice is not None
    lists = {name: (root / name).read_text(encoding="utf-8-sig") for name in names if may_be_list(name)}
    section = splits_of(choice, lists).section
    found: dict[str, set[tuple[str, str | None]]] = {}
    for sample in list_samples(checked({"root": root, **section})).samples:
        image, mask = (one and str(Path(str(one)).relative_to(root)) for one in (sample.image, sample.mask))
        found.setdefault(sample.split, set()).add((str(image), mask))
    return found


@settings(max_examples=60)
@given(layouts())
def test_a_layout_made_at_random_is_found_again(made: Made) -> None:
    with tempfile.TemporaryDirectory() as place:
        made.write(Path(place))
        assert _found(Path(place), made) == made.expected


def test_a_folder_for_each_sample_is_found(tmp_path: Path) -> None:
    made = Made()
    for split in ("train", "val"):
        for number in range(3):
            folder = f"{split}/case {number}_json"
            made.images[folder], made.masks[folder] = f"{folder}/img.png", f"{folder}/label.png"
            made.expected.setdefault(split, set()).add((made.images[folder], made.masks[folder]))
    made.write(tmp_path)
    assert _found(tmp_path, made) == made.expected


def test_names_that_match_nothing_cost_no_time() -> None:
    names = [
        f"{folder}/{sha256(f'{folder}{i}'.encode())[:32]}.png" for folder in ("images", "masks") for i in range(4000)
    ]
    began = time.process_time()
    assert choose(Pictures(names, IMAGE_SUFFIXES), lambda _: Seen("index", 0.9)) is None
    assert time.process_time() - began < 10
