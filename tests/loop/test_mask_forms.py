"""Masks that are stored in a way of their own go to CVAT and come back: same format, stored values, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from running_loop import Loop, add_model, make_project, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import IndexImage, encode_index_png, read_index_png
from annoloop.data.mmseg_folders import read_label_map, to_stored
from annoloop.loop.undo import undo
from annoloop.simulation.annotator import annotate

FOUR_LEVELS = {0: 0, 60: 1, 120: 2, 180: 3, 240: 4}
FormFactory = Callable[..., Loop]


@pytest.fixture
def form_factory(tmp_path: Path, sandbox: Server) -> Iterator[FormFactory]:
    """Projects whose masks, and the truth, are stored with a suffix and values of their own."""
    with ExitStack() as stack:

        def build(suffix: str, values: dict[int, int], *, nearest: bool = False, mode: str | None = None) -> Loop:
            made = make_project(tmp_path, sandbox.url, name=f"form-{uuid4().hex[:8]}", segment_size=3)
            file = tmp_path / FILE_NAME
            config = load(file)
            changes = {"mask_suffix": suffix, "values": values, "nearest": nearest}
            data = config.data.model_copy(update=changes)
            for mask in [*(made.root / "ann_dir").rglob("*.png"), *made.truth.rglob("*.png")]:
                stored = to_stored(read_index_png(mask).values, data, None)
                if made.truth in mask.parents:
                    mask.write_bytes(encode_index_png(IndexImage(stored.values)))  # for add_model, which knows PNG only
                else:
                    mask.unlink()
                place = mask.with_suffix(suffix)
                place.write_bytes(encode_index_png(stored))
                if mode is not None:
                    Image.fromarray(stored.values).convert(mode).save(place)
            data = data.model_copy(update={"root": Path("data")})
            file.write_text(render(config.model_copy(update={"data": data})), encoding="utf-8")
            project, cvat = stack.enter_context(opened(tmp_path, sandbox))
            add_model(project, made.truth)
            return Loop(tmp_path, made.truth, sandbox, project, cvat)

        yield build


@pytest.mark.parametrize(
    ("suffix", "values", "nearest", "mode", "magic"),
    [
        (".tif", FOUR_LEVELS, False, None, b"II*\0"),
        (".bmp", {}, False, None, b"BM"),
        (".jpg", FOUR_LEVELS, True, None, b"\xff\xd8"),
        (".png", {255: 1}, False, "RGB", b"\x89PNG"),
    ],
)
def test_corrections_come_back_in_the_form_of_the_masks(
    form_factory: FormFactory, suffix: str, values: dict[int, int], nearest: bool, mode: str | None, magic: bytes
) -> None:
    loop = form_factory(suffix, values, nearest=nearest, mode=mode)
    before = mask_bytes(loop.project)
    task = loop.push(worst=3, source="label").task
    assert task is not None
    annotate(loop.project, loop.cvat, task, loop.truth)
    report = loop.pull(task)
    assert report.task == task
    after = mask_bytes(loop.project)
    changed = [name for name in before if before[name] != after[name]]
    assert 1 <= len(changed) <= 3
    data = loop.project.config.data
    for name in changed:
        path = loop.project.mask_path(name)
        assert isinstance(path, Path)
        assert after[name].startswith(magic)
        assert np.array_equal(read_label_map(path, data), read_label_map(loop.truth / f"{name}{suffix}", data))
        with Image.open(path) as image:
            assert image.mode == (mode or "L")
            if values and not nearest:
                assert set(np.unique(np.asarray(image)).tolist()) <= {*values, *range(5), 254} - set(
                    values.values()
                ) | {0}
    undo(loop.project)
    assert mask_bytes(loop.project) == before
