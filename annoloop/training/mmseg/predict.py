"""Predictions as files: decoded ahead, predicted in batches, written beside the critical path.

Not here: which images, and with what weights.  The facts to know: the network's device is to be busy all the time,
so reading and writing go on in threads, and no more than a few batches are in memory; and a large image is predicted
window by window, so that memory grows with its bytes and not with its pixels times the classes.
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

from annoloop.data.class_entropy import Sums, noted
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.errors import TrainingError
from annoloop.training.mmseg.checkpoint import replacing
from annoloop.training.mmseg.data import read_views
from annoloop.training.mmseg.heads import listed
from annoloop.training.mmseg.recipe import looks_per_image, prediction_pipeline
from annoloop.training.windows import windows

Target = tuple[Path, Path, Path | None]
"""An image, the index PNG and the confidence PNG to write, None where nobody wants one."""

Fault = Callable[[Target, TrainingError], None]
"""Hears of an image that cannot be predicted."""

_BATCH = {"cpu": 4, "cuda": 8}
_THREADS = 4
_AHEAD = 2
"""So many batches are decoded or waiting to be written, beside the one in work."""

_WHOLE_PX = 1 << 21
"""Larger images, in px at the recipe's working scale, are predicted in windows."""

_WINDOW, _MARGIN = 1024, 128
"""Side of a window and what of it is only looked at, in px at the working scale."""

_LEAST_WINDOW = 3 * _MARGIN
_FEW_CLASSES = 256
"""With more, what is predicted at once gets smaller, as there is a probability for each class and pixel."""

_Batch = list[tuple[Target, dict[str, Any]]]
"""Targets with what the pipeline makes of their images."""

Indices = npt.NDArray[np.unsignedinteger[Any]]

Maps = tuple[Indices, npt.NDArray[np.uint8]]
"""Class indices, uint16 where there are more than 8 bits tell apart, and confidences, each (H, W)."""


def write_predictions(
    model: torch.nn.Module,
    config: Config,
    targets: Sequence[Target],
    done: Callable[[Target], None],
    fault: Fault | None = None,
) -> None:
    """Index and confidence PNGs for every target, of the size of the image file; ``done`` hears of each.

    ``fault``, where given, hears of images that cannot be predicted, and the others are.

    Raises:
        TrainingError: an image cannot be predicted, and nobody hears of that.
    """
    model.eval()
    size = _BATCH[next(model.parameters()).device.type]
    network = Network(model, config)
    with ThreadPoolExecutor(_THREADS) as pool:
        writing: deque[tuple[Target, Future[None]]] = deque()
        for batch in _batches(_decoded(pool, network, targets, size * _AHEAD, fault), size):
            for target, maps, sums in _predicted(network, batch, fault):
                writing.append((target, pool.submit(_write, target, *maps, sums)))
            while len(writing) > size * _AHEAD:
                _finish(*writing.popleft(), done)
        while writing:
            _finish(*writing.popleft(), done)


class Network:
    """A model with the pipeline that its recipe has for images.

    ``scale`` is that of its work, ``flips`` whether it looks at the mirror image, too.  An image of more than
    ``whole_px``, at the working scale, is predicted in windows of ``side_px`` with ``margin_px`` around what is used
    of them, both in px of the image.
    """

    def __init__(self, model: Any, config: Config) -> None:
        loading, *others = prediction_pipeline(config)
        self._model, self._loading, self._others = model, Compose([loading]), Compose(others)
        read_views(self._loading)
        scales = [step.get("scale_factor", 1.0) for step in others if step["type"] == "Resize"]
        self.scale = float(scales[0]) if scales and isinstance(scales[0], float) else 1.0
        self.flips = looks_per_image(config) > 1
        counted = [head["num_classes"] for head in listed(config.model.decode_head) if "num_classes" in head]
        fewer = min(1.0, _FEW_CLASSES / max([_FEW_CLASSES, *counted]))
        self.whole_px = _WHOLE_PX * fewer
        side = max(_LEAST_WINDOW, round(_WINDOW * fewer**0.5))
        self.side_px, self.margin_px = round(side / self.scale), round(_MARGIN / self.scale)

    def read(self, image: Path) -> dict[str, Any]:
        """What the pipeline makes of an image; of a large one only the pixels.

        Raises:
            TrainingError: it cannot be read.
        """
        try:
            loaded: dict[str, Any] = self._loading({"img_path": str(image)})
            large = loaded["img"].shape[0] * loaded["img"].shape[1] * self.scale**2 > self.whole_px
            item: dict[str, Any] = loaded if large else self._others(loaded)
        except Exception as error:
            raise TrainingError(f"cannot be read as an image: {error}", where=image) from error
        return item

    def maps(self, items: Sequence[dict[str, Any]], sums: list[Sums] | None = None) -> Iterator[Maps]:
        """Class indices and round(255 * probability of that class), each of the size of the image file.

        ``sums``, where somebody wants them, gets what ``class_entropy`` says of each image before its maps come.
        """
        if "inputs" in items[0]:
            yield from self._whole(items, sums)
        else:
            for item in items:
                yield self._in_windows(item, sums)

    def _whole(
        self, items: Sequence[dict[str, Any]], sums: list[Sums] | None, used: tuple[slice, ...] = ()
    ) -> Iterator[Maps]:
        for probabilities in self._probabilities(items):
            if sums is not None:
                sums.append(class_entropy(probabilities[(slice(None), *used)]))
            confidence, indices = probabilities.max(dim=0)
            # Made small on the device: four bytes less in eight have to travel.
            yield _numbers(indices, len(probabilities)), (255 * confidence).round().byte().cpu().numpy()

    def _in_windows(self, loaded: dict[str, Any], sums: list[Sums] | None) -> Maps:
        parts: list[Sums] | None = None if sums is None else []
        pixels = loaded["img"]
        size_hw = pixels.shape[0], pixels.shape[1]
        indices: Indices = np.empty(0, np.uint8)
        confidences = np.empty(size_hw, np.uint8)
        for window in windows(size_hw, self.side_px, self.margin_px):
            item = self._prepared(pixels[window.rows, window.columns], loaded)
            ((found, sure),) = self._whole([item], parts, window.used)
            place = window.used_rows, window.used_columns
            indices = indices if indices.size else np.empty(size_hw, found.dtype)
            indices[place], confidences[place] = found[window.used], sure[window.used]
        if sums is not None and parts is not None:
            sums.append(np.sum(parts, axis=0))
        return indices, confidences

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(K, H, W) of the device, of an image (H, W, 3) as it is loaded, blue first, however large it is."""
        (found,) = self._probabilities([self._prepared(pixels, {})])
        return found

    def _prepared(self, pixels: npt.NDArray[np.uint8], loaded: dict[str, Any]) -> dict[str, Any]:
        """What the pipeline makes of pixels that are loaded."""
        part = np.ascontiguousarray(pixels)
        prepared: dict[str, Any] = self._others(
            {**loaded, "img": part, "img_shape": part.shape[:2], "ori_shape": part.shape[:2]}
        )
        return prepared

    def _probabilities(self, items: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
        """(K, H, W) for each item; where the recipe says so, the mean of the image's and of its mirror image's."""
        packed = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            found = [sample.seg_logits.data.float().softmax(dim=0) for sample in self._model.test_step(packed)]
            if self.flips:
                packed["inputs"] = [item["inputs"].flip(-1) for item in items]
                mirrored = self._model.test_step(packed)
                for one, sample in zip(found, mirrored, strict=True):
                    one += sample.seg_logits.data.float().softmax(dim=0).flip(-1)
                    one /= 2
        return found


def _numbers(indices: torch.Tensor, classes: int) -> Indices:
    """On the CPU, in as few bytes as so many classes need."""
    if classes <= 1 << 8:
        narrow: Indices = indices.byte().cpu().numpy()
        return narrow
    return indices.to(torch.int32).cpu().numpy().astype(np.uint16)


def class_entropy(probabilities: torch.Tensor) -> Sums:
    """For each class c the sum over all pixels of H x p_c (K,), in nats, of probabilities (K, H, W).

    H is the entropy of the K probabilities of a pixel; the sums of all classes add up to that of H.
    """
    entropy = torch.zeros_like(probabilities[0])
    for one in probabilities:
        entropy += torch.special.entr(one)
    sums = torch.stack([(one * entropy).sum(dtype=torch.float64) for one in probabilities])
    return np.asarray(sums.cpu().numpy(), np.float64)


def _predicted(network: Network, batch: _Batch, fault: Fault | None) -> Iterator[tuple[Target, Maps, Sums | None]]:
    """The maps of a batch, with the sums of entropy where a confidence PNG will hold them."""
    sums: list[Sums] | None = [] if any(confidence_png for (_, _, confidence_png), _ in batch) else None
    try:
        # All at once: a batch that fails has not begun to be written.
        found = list(network.maps([item for _, item in batch], sums))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        if len(batch) > 1 and fault is not None:
            for one in batch:
                yield from _predicted(network, [one], fault)
            return
        target = batch[0][0]
        refused = TrainingError(f"cannot be predicted: {str(error).splitlines()[0]}", where=target[0])
        if fault is None or "allocate memory" in str(error):  # in which torch on a CPU is out of memory
            raise
        fault(target, refused)
        return
    for number, ((target, _), maps) in enumerate(zip(batch, found, strict=True)):
        yield target, maps, None if sums is None else sums[number]


def _decoded(
    pool: ThreadPoolExecutor, network: Network, targets: Sequence[Target], ahead: int, fault: Fault | None
) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Every target with what the recipe's pipeline makes of its image; the next ones are under way."""
    coming = deque((target, pool.submit(network.read, target[0])) for target in targets[:ahead])
    for target in [*targets[ahead:], *([None] * len(coming))]:
        ready, item = coming.popleft()
        if target is not None:
            coming.append((target, pool.submit(network.read, target[0])))
        try:
            yield ready, item.result()
        except TrainingError as error:
            if fault is None:
                raise
            fault(ready, error)


def _batches(items: Iterator[tuple[Target, dict[str, Any]]], size: int) -> Iterator[_Batch]:
    """Neighbours of equal size in one batch; a large image by itself."""
    batch: _Batch = []
    for target, item in items:
        if batch and (len(batch) == size or _size(item) != _size(batch[0][1])):
            yield batch
            batch = []
        batch.append((target, item))
    if batch:
        yield batch


def _size(item: dict[str, Any]) -> object:
    return item["inputs"].shape if "inputs" in item else id(item)


def _write(target: Target, indices: Indices, confidences: npt.NDArray[np.uint8], sums: Sums | None) -> None:
    _, index_png, confidence_png = target
    if confidence_png is not None and sums is not None:
        confidence_png.parent.mkdir(parents=True, exist_ok=True)
        with replacing(confidence_png, durable=False) as beside:
            Image.fromarray(confidences).save(beside, format="PNG", pnginfo=noted(sums))
    # The index map comes last: where there is one, its confidence is there too.
    index_png.parent.mkdir(parents=True, exist_ok=True)
    with replacing(index_png, durable=False) as beside:
        beside.write_bytes(encode_index_png(IndexImage(indices)))


def _finish(target: Target, written: Future[None], done: Callable[[Target], None]) -> None:
    written.result()
    done(target)
