"""A job's files as mmseg reads them: decoded once, cropped where there is something to see.

Not here: which pipeline a recipe has, and how loaders are set up (``recipe``).  The fact to know:
decoding costs more than everything else that is done to an image, so decoded images stay in memory, as
far as a share of what is free goes; the others are decoded again each time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import numpy.typing as npt
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.dataset import Compose
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS, TRANSFORMS

from annoloop.compute.hardware import free_memory_bytes
from annoloop.data.images import needs_view, read_image, read_index_png
from annoloop.errors import TrainingError
from annoloop.masks.classes import NARROW_IGNORE, WIDE_IGNORE
from annoloop.training.mmseg.ranks import LOCAL_WORLD
from annoloop.training.records import Job
from annoloop.training.validation_plan import stratified_order

_LOADING = ("LoadImageFromFile", "LoadAnnotations", "Resize")
"""The steps at the beginning of a pipeline that give the same each time; mmseg's ``Resize`` draws nothing."""
_CACHE_SHARE = 0.25
"""Of the memory that is free when a run begins."""


@DATASETS.register_module()
class JobDataset(BaseSegDataset):  # type: ignore[misc]
    """The (image, mask) files of one split ("train" or "val") of a job.

    ``cached``: keep what was decoded in memory; ``ahead``: decode all of it now, which processes forked
    later share.
    """

    def __init__(self, job_file: str, split: str, *, cached: bool = False, ahead: bool = False, **options: Any) -> None:
        self._job = Job.from_json(Path(job_file).read_text(encoding="utf-8"))
        self._split = split
        self._pairs = self._job.train if split == "train" else self._validated()
        super().__init__(metainfo=metainfo(self._job), reduce_zero_label=self._job.reduce_zero_label, **options)
        steps = self.pipeline.transforms
        loading = next((i for i, step in enumerate(steps) if type(step).__name__ not in _LOADING), len(steps))
        self._loading, self._rest = Compose(steps[:loading]), Compose(steps[loading:])
        for step in (*self._loading.transforms, *self._rest.transforms):
            if isinstance(step, LoadAnnotations):
                step.__class__ = _LoadMask
        read_views(self._loading)
        self._cache: dict[int, dict[str, Any]] = {}
        self._room = int(_CACHE_SHARE * free_memory_bytes() / LOCAL_WORLD) if cached and loading else 0
        if cached and ahead:
            self._decode_all()

    def _validated(self) -> list[tuple[Path, Path]]:
        """In an order of which every beginning is a fair share, where the classes of each mask are known."""
        val = self._job.val
        order = range(len(val)) if self._job.val_pixels is None else stratified_order(self._job.val_pixels)
        return [val[index] for index in order]

    def load_data_list(self) -> list[dict[str, Any]]:
        """One dict per image, as mmseg's loading transforms want it."""
        ignored = self._ignored()
        return [
            {
                "img_path": str(image),
                "seg_map_path": str(mask),
                "label_map": ignored,
                "ignore_index": self._job.trained_ignore,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
                "background_index": self._job.background_index,
            }
            for image, mask in self._pairs
        ]

    def prepare_data(self, idx: int) -> Any:
        """One sample through the pipeline; what cannot be used is named.

        Raises:
            TrainingError: unreadable files, or a mask value that is no class.
        """
        files = self.get_data_info(idx)
        try:
            packed = self._rest(self._decoded(idx, files))
        except Exception as error:
            raise TrainingError(f"cannot be used with its mask: {error}", where=files["img_path"]) from error
        labels = packed["data_samples"].gt_sem_seg.data
        highest = int(torch.where(labels == self._job.trained_ignore, 0, labels).max())
        if highest >= len(self._job.class_names):
            raise TrainingError(
                f"the value {highest + int(self.reduce_zero_label)} is no class and not the ignore index",
                where=files["seg_map_path"],
            )
        return packed

    def get_cat_ids(self, idx: int) -> list[int]:
        """The classes in a training image, which is what mmengine's ``ClassBalancedDataset`` asks for."""
        assert self._split == "train"
        assert self._job.train_pixels is not None
        return [index for index, pixels in enumerate(self._job.train_pixels[idx]) if pixels]

    def _decoded(self, idx: int, files: dict[str, Any]) -> dict[str, Any]:
        """What the loading steps give; a copy, because the steps after them may write into their arrays."""
        kept = self._cache.get(idx)
        if kept is None:
            kept = dict(self._loading(files))
            size = sum(value.nbytes for value in kept.values() if isinstance(value, np.ndarray))
            if size > self._room:
                return kept
            self._room -= size
            self._cache[idx] = kept
        return {key: value.copy() if isinstance(value, (np.ndarray, list)) else value for key, value in kept.items()}

    def _decode_all(self) -> None:
        with ThreadPoolExecutor() as pool:
            # A file that cannot be read is named when its turn in the training comes.
            list(pool.map(self._try, range(len(self))))

    def _try(self, idx: int) -> None:
        if self._room > 0:
            try:
                self._decoded(idx, self.get_data_info(idx))
            except Exception:
                return

    def _ignored(self) -> dict[int, int] | None:
        trained = self._job.trained_ignore
        if self._job.values:
            mapped = dict(self._job.values)
            levels = (WIDE_IGNORE if self._job.ignore_index > NARROW_IGNORE else NARROW_IGNORE) + 1
            ignored = [v for v in range(levels) if mapped.get(v, v) == self._job.ignore_index]
            return mapped | dict.fromkeys(ignored, trained)
        # mmseg applies the map after it has reduced the labels.
        value = self._job.ignore_index - int(self.reduce_zero_label)
        return None if self._job.ignore_index == trained or value < 0 else {value: trained}


class _LoadImage(LoadImageFromFile):  # type: ignore[misc]
    """mmcv's own step, but that a raster of many bands is the view that people see, not what OpenCV makes of it."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        path = Path(results["img_path"])
        if not needs_view(path):
            found: dict[str, Any] | None = super().transform(results)
            return found
        image = np.ascontiguousarray(read_image(path)[..., ::-1])  # as OpenCV has it: blue first
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


def read_views(steps: Compose) -> None:
    """From now on the steps read images as the rest of annoloop reads them."""
    for step in steps.transforms:
        if type(step) is LoadImageFromFile:
            step.__class__ = _LoadImage


class _LoadMask(LoadAnnotations):  # type: ignore[misc]
    """mmseg's own step, but that masks are read as the rest of annoloop reads them, TIFF and grey RGB among them."""

    def _load_seg_map(self, results: dict[str, Any]) -> None:
        stored = read_index_png(Path(results["seg_map_path"])).values
        # OpenCV, which scales the map, knows 16 bits as well as 8; mmseg makes 64 of them at the end.
        is_wide = results["ignore_index"] > NARROW_IGNORE or stored.dtype == np.uint16
        table = np.arange((WIDE_IGNORE if is_wide else NARROW_IGNORE) + 1, dtype=np.uint16 if is_wide else np.uint8)
        if results["reduce_zero_label"]:
            table = np.roll(table, 1)
            table[[0, NARROW_IGNORE]] = NARROW_IGNORE
        mapped = table.copy()
        for value, label in (results.get("label_map") or {}).items():
            if value < table.size:
                mapped[table == value] = label
        results["gt_seg_map"] = mapped[stored]
        results["seg_fields"].append("gt_seg_map")


@TRANSFORMS.register_module()
class ForegroundCrop(BaseTransform):  # type: ignore[misc]
    """A crop that holds foreground: around a random pixel of a random class of the image.

    ``share`` of the crops are of that kind, with the classes of the image equally likely however small;
    the others lie anywhere.  An image that is smaller than ``crop_size`` (height, width; px) stays as it is
    in that direction.  ``scale``: what is cut out is enlarged by a factor between these two, all ratios equally
    likely, so that it fills the crop.  Drawn from numpy's global generator, as mmseg's own crops are.
    """

    def __init__(self, crop_size: tuple[int, int], share: float = 0.3, scale: tuple[float, float] = (1.0, 1.0)) -> None:
        self._crop_size, self._share = crop_size, share
        self._log_scale = np.log(scale)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop ``img`` and every map of ``seg_fields``."""
        scale = float(np.exp(np.random.uniform(*self._log_scale)))
        label_map = results["gt_seg_map"]
        unseen = results.get("background_index", 0), results.get("ignore_index", NARROW_IGNORE)
        window = self._window(label_map, *unseen, scale)
        results["img"] = self._enlarged(results["img"][window], scale, "area" if scale < 1 else "bilinear")
        for key in results.get("seg_fields", ()):
            results[key] = self._enlarged(results[key][window], scale, "nearest")
        results["img_shape"] = results["img"].shape[:2]
        return results

    def _enlarged(self, cut: npt.NDArray[Any], scale: float, interpolation: str) -> npt.NDArray[Any]:
        if scale == 1:
            return cut
        height, width = (
            min(crop, round(length * scale)) for crop, length in zip(self._crop_size, cut.shape, strict=False)
        )
        enlarged: npt.NDArray[Any] = mmcv.imresize(cut, (width, height), interpolation=interpolation)
        return enlarged

    def _window(
        self, label_map: npt.NDArray[Any], background: int | None, ignored: int, scale: float
    ) -> tuple[slice, slice]:
        centre = self._foreground_pixel(label_map, background, ignored) if np.random.random() < self._share else None
        spans = []
        for axis, crop in enumerate(self._crop_size):
            length = label_map.shape[axis]
            size = min(round(crop / scale), length)
            # The pixel may lie anywhere in the crop, or else the middle of each crop would give it away.
            low, high = (0, length - size) if centre is None else (centre[axis] - size + 1, centre[axis])
            first = np.random.randint(max(0, low), min(length - size, high) + 1)
            spans.append(slice(first, first + size))
        return spans[0], spans[1]

    @staticmethod
    def _foreground_pixel(label_map: npt.NDArray[Any], background: int | None, ignored: int) -> tuple[int, int] | None:
        counts = np.bincount(label_map.ravel(), minlength=ignored + 1)
        counts[ignored] = 0
        if background is not None:
            counts[background] = 0
        present = np.flatnonzero(counts)
        if not present.size:
            return None
        pixels = np.flatnonzero(label_map.ravel() == np.random.choice(present))
        row, column = divmod(int(np.random.choice(pixels)), label_map.shape[1])
        return row, column


def metainfo(job: Job) -> dict[str, Any]:
    """The classes and colours, as mmseg names them."""
    return {"classes": list(job.class_names), "palette": [list(color) for color in job.palette]}
