"""Predictions as files: decoded ahead, predicted in batches, written beside the critical path.

Not here: which images, and with what weights.  The fact to know: the network's device is to be busy all
the time, so reading and writing go on in threads, and no more than a few batches are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from annoloop.data.images import IndexImage, encode_index_png
from annoloop.errors import TrainingError
from annoloop.training.mmseg.checkpoint import replacing
from annoloop.training.mmseg.recipe import prediction_pipeline

Target = tuple[Path, Path, Path]
"""An image, the index PNG and the confidence PNG to write."""

_BATCH = {"cpu": 4, "cuda": 8}
_THREADS = 4
_AHEAD = 2
"""So many batches are decoded or waiting to be written, beside the one in work."""


def write_predictions(
    model: torch.nn.Module, config: Config, targets: Sequence[Target], done: Callable[[Target], None]
) -> None:
    """Index and confidence PNGs for every target, of the size of the image file; ``done`` hears of each.

    Raises:
        TrainingError: an image cannot be read.
    """
    model.eval()
    size = _BATCH[next(model.parameters()).device.type]
    with ThreadPoolExecutor(_THREADS) as pool:
        writing: deque[tuple[Target, Future[None]]] = deque()
        for batch in _batches(_decoded(pool, config, targets, size * _AHEAD), size):
            for target, indices, confidences in _predict(model, batch):
                writing.append((target, pool.submit(_write, target, indices, confidences)))
            while len(writing) > size * _AHEAD:
                _finish(*writing.popleft(), done)
        while writing:
            _finish(*writing.popleft(), done)


def _decoded(
    pool: ThreadPoolExecutor, config: Config, targets: Sequence[Target], ahead: int
) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Every target with what the recipe's pipeline makes of its image; the next ones are under way."""
    pipeline = Compose(prediction_pipeline(config))
    coming = deque((target, pool.submit(_read, pipeline, target[0])) for target in targets[:ahead])
    for target in [*targets[ahead:], *([None] * len(coming))]:
        ready, item = coming.popleft()
        if target is not None:
            coming.append((target, pool.submit(_read, pipeline, target[0])))
        yield ready, item.result()


def _read(pipeline: Any, image: Path) -> dict[str, Any]:
    try:
        item: dict[str, Any] = pipeline({"img_path": str(image)})
    except Exception as error:
        raise TrainingError(f"cannot be read as an image: {error}", where=image) from error
    return item


def _batches(
    items: Iterator[tuple[Target, dict[str, Any]]], size: int
) -> Iterator[list[tuple[Target, dict[str, Any]]]]:
    """Neighbours of equal size in one batch."""
    batch: list[tuple[Target, dict[str, Any]]] = []
    for target, item in items:
        if batch and (len(batch) == size or item["inputs"].shape != batch[0][1]["inputs"].shape):
            yield batch
            batch = []
        batch.append((target, item))
    if batch:
        yield batch


def _predict(
    model: Any, batch: list[tuple[Target, dict[str, Any]]]
) -> Iterator[tuple[Target, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Class indices (H, W) and round(255 * probability of that class), (H, W), for each image of a batch."""
    packed = {key: [item[key] for _, item in batch] for key in ("inputs", "data_samples")}
    with torch.no_grad():
        samples = model.test_step(packed)
    for (target, _), sample in zip(batch, samples, strict=True):
        confidence, indices = sample.seg_logits.data.float().softmax(dim=0).max(dim=0)
        # Made small on the device: four bytes less in eight have to travel.
        yield target, indices.byte().cpu().numpy(), (255 * confidence).round().byte().cpu().numpy()


def _write(target: Target, indices: npt.NDArray[np.uint8], confidences: npt.NDArray[np.uint8]) -> None:
    _, index_png, confidence_png = target
    for path in (confidence_png, index_png):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(confidence_png, durable=False) as beside:
        Image.fromarray(confidences).save(beside, format="PNG")
    # The index map comes last: where there is one, its confidence is there too.
    with replacing(index_png, durable=False) as beside:
        beside.write_bytes(encode_index_png(IndexImage(indices)))


def _finish(target: Target, written: Future[None], done: Callable[[Target], None]) -> None:
    written.result()
    done(target)
