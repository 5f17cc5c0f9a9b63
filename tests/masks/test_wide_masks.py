"""Law 1 with more classes than 8 bits tell apart: label maps of 16 bits to regions, CVAT and COCO, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.data.coco import instances
from annoloop.data.coco.painting import read_label_map
from annoloop.data.coco.reading import CocoImage
from annoloop.errors import ConfigError
from annoloop.masks.classes import WIDE_IGNORE, ClassTable, class_table
from annoloop.masks.polygons import pieces
from annoloop.masks.regions import LabelMap, components, paint, regions
from annoloop.masks.run_lengths import cvat_masks, from_cvat_runs, paint_cvat_masks, to_cvat_runs

K = 65_535
FEW = st.sampled_from([0, 0, 1, 254, 255, 256, 257, 511, 4660, 65_534, WIDE_IGNORE])


def _blown_up(small: LabelMap, times: int) -> LabelMap:
    return np.repeat(np.repeat(small, times, axis=0), times, axis=1)


def _maps(values: st.SearchStrategy[int]) -> st.SearchStrategy[LabelMap]:
    return hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 12)), elements=values)


label_maps = (
    st.builds(_blown_up, _maps(FEW), st.integers(1, 3))
    | _maps(st.integers(0, WIDE_IGNORE))
    | _maps(FEW).map(np.asfortranarray)
)


@pytest.fixture(scope="module")
def table() -> ClassTable:
    return class_table([f"c{i}" for i in range(K)], ignore_index=WIDE_IGNORE)


def test_the_ignore_index_decides_how_wide_masks_are(table: ClassTable) -> None:
    assert table.dtype == np.uint16
    assert table.levels == 65_536
    assert class_table(["a"], ignore_index=256).dtype == np.uint16
    assert class_table(["a"] + [f"c{i}" for i in range(254)]).dtype == np.uint8
    with pytest.raises(ConfigError, match="65535 for masks of 16 bits"):
        class_table([f"c{i}" for i in range(256)])
    with pytest.raises(ConfigError, match="between 1 and 65535 classes"):
        class_table([f"c{i}" for i in range(65_536)], ignore_index=WIDE_IGNORE)


@given(label_maps, st.sampled_from([0, 4]))
def test_regions_give_the_map_back(label_map: LabelMap, min_region_px: int) -> None:
    parts = regions(label_map, min_region_px=min_region_px)
    painted = paint(parts, label_map.shape, fill=WIDE_IGNORE)
    assert painted.dtype == np.uint16
    assert np.array_equal(painted, label_map)


@given(label_maps)
def test_components_have_the_numbers_of_the_map(label_map: LabelMap) -> None:
    found = components(label_map)
    assert np.array_equal(found.class_of[found.numbers], label_map)


@given(label_maps, st.sampled_from([0, 4]))
def test_cvat_masks_give_the_map_back(label_map: LabelMap, min_region_px: int) -> None:
    drawn = cvat_masks(label_map, min_region_px=min_region_px)
    assert np.array_equal(paint_cvat_masks(drawn, np.zeros_like(label_map)), label_map)
    parts = regions(label_map, min_region_px=min_region_px)
    read = [from_cvat_runs(list(map(float, to_cvat_runs(p))), p.class_index, label_map.shape) for p in parts]
    assert np.array_equal(paint((r for r in read if r), label_map.shape, fill=9), label_map)


@given(label_map=label_maps, min_region_px=st.sampled_from([0, 4]))
def test_coco_gives_the_map_back(table: ClassTable, label_map: LabelMap, min_region_px: int) -> None:
    written = instances.encode(label_map, table, image_id=1, first_id=1, min_region_px=min_region_px)
    image = CocoImage(1, "a.png", label_map.shape, tuple(written))
    index_of = {instances.category_id(int(index)): int(index) for index in np.unique(label_map)}
    read = read_label_map(image, table, index_of).label_map
    assert read is not None
    assert read.dtype == np.uint16
    assert np.array_equal(read, label_map)


@given(label_maps)
def test_the_regions_of_polygons_give_the_map_back(label_map: LabelMap) -> None:
    found = pieces(label_map, min_region_px=3)
    assert np.array_equal(paint((p.region for p in found), label_map.shape, fill=WIDE_IGNORE), label_map)
