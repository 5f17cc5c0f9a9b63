"""One image and its mask: read once, and whatever is wrong with them is a finding, never an exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annoloop.data.config import DataConfig
from annoloop.data.images import IndexImage, encode_index_png, sha256
from annoloop.data.mmseg_folders import Sample
from annoloop.eda.sample_facts import SampleFacts, sample_facts
from annoloop.masks.classes import class_table

CLASSES = class_table(["ground", "disc", "ring"], ["#000000", "#e6194b", "#3cb44b"], background="ground")
DATA = DataConfig(root=Path(), splits={"train": "train"})
REDUCED = DataConfig(root=Path(), splits={"train": "train"}, reduce_zero_label=True)
OWN_PALETTE = bytes([0, 0, 0, 0xE6, 0x19, 0x4B, 0x3C, 0xB4, 0x4B])
SWAPPED_PALETTE = bytes([0, 0, 0, 0x3C, 0xB4, 0x4B, 0xE6, 0x19, 0x4B])


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A good pair, 20 x 30 px, with both foreground classes."""
    rng = np.random.default_rng(0)
    image, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(image)
    write(mask, values())
    return Sample("train/a", image, mask, "train")


def values(*used: int) -> np.ndarray:
    """A mask whose left holds 0 and whose right holds the given values, by default the classes."""
    found = np.zeros((20, 30), np.uint8)
    for column, value in enumerate(used or (1, 2)):
        found[2:18, 10 + 3 * column : 13 + 3 * column] = value
    return found


def write(path: Path | None, stored: np.ndarray, palette: bytes | None = None) -> None:
    assert path is not None
    path.write_bytes(encode_index_png(IndexImage(stored, palette)))


def said(sample: Sample, data: DataConfig = DATA) -> list[tuple[str, str]]:
    return [(one.kind, one.message) for one in sample_facts(sample, data, CLASSES).findings]


def test_a_good_pair_has_facts_and_no_findings(sample: Sample) -> None:
    facts = sample_facts(sample, DATA, CLASSES)
    assert facts.findings == ()
    assert facts.image is not None
    assert facts.mask is not None
    assert facts.image.size_hw == facts.mask.size_hw == (20, 30)
    assert facts.image.sha256 == sha256(sample.image.read_bytes())
    assert facts.mask.present.tolist() == [0, 1, 2]


def test_brightness_and_contrast_are_mean_and_deviation(sample: Sample) -> None:
    flat = Image.new("L", (400, 300), 60)
    flat.paste(100, (200, 0, 400, 300))
    flat.save(sample.image, quality=95)
    image = sample_facts(sample, DATA, CLASSES).image
    assert image is not None
    assert image.brightness == pytest.approx(80, abs=1)
    assert image.contrast == pytest.approx(20, abs=1)


@pytest.mark.parametrize("kept", [0, 1, 40, -50])
def test_a_damaged_image_is_a_finding_and_its_mask_is_looked_at_all_the_same(sample: Sample, kept: int) -> None:
    sample.image.write_bytes(sample.image.read_bytes()[:kept])
    facts = sample_facts(sample, DATA, CLASSES)
    assert [(one.kind, one.where) for one in facts.findings] == [("unreadable image", str(sample.image))]
    assert facts.image is None
    assert facts.mask is not None


@pytest.mark.parametrize("kept", [0, 1, 40, 60])
def test_a_damaged_mask_is_a_finding_and_its_image_is_looked_at_all_the_same(sample: Sample, kept: int) -> None:
    assert sample.mask is not None
    sample.mask.write_bytes(sample.mask.read_bytes()[:kept])
    facts = sample_facts(sample, DATA, CLASSES)
    assert [(one.kind, one.where) for one in facts.findings] == [("unreadable mask", str(sample.mask))]
    assert facts.image is not None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_colours_are_no_indices(sample: Sample, mode: str) -> None:
    assert sample.mask is not None
    size_wh = values().shape[::-1]
    color = {"RGB": (1, 2, 3), "RGBA": (1, 1, 1, 9), "LA": (1, 9), "I;16": 900}[mode]
    Image.new(mode, size_wh, color).save(sample.mask)
    assert [kind for kind, _ in said(sample)] == ["colour mask"]


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ((92, 132), "0, 92, 132: the grey levels of the classes' colours"),
        ((38, 75), "0, 38, 75: the grey levels of the PASCAL VOC colours"),
        ((127, 254), "0, 127, 254: indices times 127"),
        ((128, 255), "0, 128: indices stretched"),
        ((50, 100), "0, 50, 100: indices times 50"),
    ],
)
def test_values_of_another_kind_are_told_from_a_stray_index(sample: Sample, used: tuple[int, ...], words: str) -> None:
    write(sample.mask, values(*used))
    ((kind, message),) = said(sample)
    assert kind == "palette confusion"
    assert words in message


def test_a_stray_index_is_named_with_its_px(sample: Sample) -> None:
    write(sample.mask, values(1, 7))
    ((kind, message),) = said(sample)
    assert kind == "unknown index"
    assert "7 (48 px); classes are 0 … 2" in message


def test_a_palette_in_the_order_of_other_classes_is_named(sample: Sample) -> None:
    write(sample.mask, values(), OWN_PALETTE)
    assert said(sample) == []
    write(sample.mask, values(), SWAPPED_PALETTE)
    ((kind, message),) = said(sample)
    assert kind == "palette confusion"
    assert "1 in the colour of ring, 2 in the colour of disc" in message


def test_a_palette_of_other_colours_says_nothing(sample: Sample) -> None:
    write(sample.mask, values(), bytes(range(30)))
    assert said(sample) == []


def test_grey_levels_are_told_in_a_palette_mask_too(sample: Sample) -> None:
    write(sample.mask, values(38, 75), bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    assert [kind for kind, _ in said(sample)] == ["palette confusion"]


def test_with_reduce_zero_label_the_palette_begins_with_what_is_ignored(sample: Sample) -> None:
    write(sample.mask, values() + np.uint8(1), b"\x80\x80\x80" + OWN_PALETTE)
    assert said(sample, REDUCED) == []
    write(sample.mask, values() + np.uint8(1), b"\x80\x80\x80" + SWAPPED_PALETTE)
    assert [kind for kind, _ in said(sample, REDUCED)] == ["palette confusion"]


def test_a_mask_can_be_wrong_in_two_ways(sample: Sample) -> None:
    write(sample.mask, values(1, 7)[:-2])
    assert [kind for kind, _ in said(sample)] == ["unknown index", "size mismatch"]


def test_an_image_without_a_mask_is_fine(sample: Sample) -> None:
    facts: SampleFacts = sample_facts(Sample("pool/a", sample.image, None, "pool"), DATA, CLASSES)
    assert facts.mask is None
    assert facts.findings == ()
