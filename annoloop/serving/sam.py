"""A SAM-type model of the user's as two ONNX files: an encoder that sees an image once, a decoder for every click.

Not here: weights, of which annoloop has none, and torch.  The facts to know: the decoder is one as segment-anything
exports it; images are enlarged or reduced to the encoder's side, padded right and below, and clicks with them.

Source: Kirillov et al., "Segment Anything", ICCV 2023; ``scripts/export_onnx_model.py`` of its repository for the
names of inputs, ``ResizeLongestSide`` and ``Sam.preprocess`` for the scale, mean and standard deviation.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from annoloop.data.images import sha256
from annoloop.errors import ConfigError, DataError, MissingExtraError
from annoloop.masks.regions import Bits
from annoloop.serving.clicks import Prompts
from annoloop.serving.memory import Recent

DECODER_INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")

_SIDE_PX = 1024
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_CACHE_BYTES = 256 << 20
_ON, _BESIDE, _TOP_LEFT, _BOTTOM_RIGHT, _NO_POINT = 1, 0, 2, 3, -1

Floats = npt.NDArray[np.float32]


class Session(Protocol):
    """What is used of an onnxruntime session."""

    def get_inputs(self) -> Sequence[Any]: ...

    def get_outputs(self) -> Sequence[Any]: ...

    def run(self, names: Sequence[str] | None, inputs: Mapping[str, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """An image as the decoder needs it: its embedding, its size, and how much it was enlarged."""

    embedding: Floats
    size_hw: tuple[int, int]
    scaled_hw: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        return self.embedding.nbytes


class SamDecoder:
    """Encoder and decoder together; embeddings are remembered by the image's bytes."""

    def __init__(self, encoder: Session, decoder: Session) -> None:
        """Of two sessions.

        Raises:
            ConfigError: the decoder has not the inputs of an exported one, or the encoder not one image.
        """
        lacking = [name for name in DECODER_INPUTS if name not in {one.name for one in decoder.get_inputs()}]
        if lacking:
            raise ConfigError(
                f"this is no decoder as segment-anything exports it: it lacks {', '.join(lacking)}", where="--sam"
            )
        if len(encoder.get_inputs()) != 1 or len(encoder.get_inputs()[0].shape) != 4:
            raise ConfigError("the encoder must take one image (1, 3, H, W)", where="--sam-encoder")
        self._encoder, self._decoder = encoder, decoder
        side = encoder.get_inputs()[0].shape[-1]
        self._side_px = side if isinstance(side, int) else _SIDE_PX
        self._seen: Recent[_Seen] = Recent(_CACHE_BYTES)
        self._lock = threading.Lock()

    @classmethod
    def of_files(cls, decoder: Path, encoder: Path) -> SamDecoder:
        """Of two ONNX files.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            ConfigError: a file is missing, or is not such a model.
        """
        return cls(_session(encoder, "--sam-encoder"), _session(decoder, "--sam"))

    def segment(self, image: bytes, prompts: Prompts) -> Bits:
        """The mask (H, W) of the object that prompts mean.

        Raises:
            DataError: the bytes cannot be read as an image.
        """
        with self._lock:
            digest = sha256(image)
            seen = self._seen.get(digest)
            if seen is None:
                seen = self._look(image)
                self._seen.put(digest, seen)
            return self._decoded(seen, prompts)

    def _look(self, image: bytes) -> _Seen:
        pixels = _rgb(image)
        height, width = pixels.shape[:2]
        scale = self._side_px / max(height, width)
        scaled_hw = int(height * scale + 0.5), int(width * scale + 0.5)
        padded = np.zeros((1, 3, self._side_px, self._side_px), np.float32)
        scaled = (_resized(pixels, scaled_hw).astype(np.float32) - _MEAN) / _STD
        padded[0, :, : scaled_hw[0], : scaled_hw[1]] = scaled.transpose(2, 0, 1)
        (name,) = (one.name for one in self._encoder.get_inputs())
        embedding = np.asarray(self._encoder.run(None, {name: padded})[0], np.float32)
        return _Seen(embedding, (height, width), scaled_hw)

    def _decoded(self, seen: _Seen, prompts: Prompts) -> Bits:
        coords, labels = points_of(prompts)
        enlarged = np.array(seen.scaled_hw[::-1], np.float32) / np.array(seen.size_hw[::-1], np.float32)
        given = {
            "image_embeddings": seen.embedding,
            "point_coords": (coords * enlarged)[None],
            "point_labels": labels[None],
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(seen.size_hw, np.float32),
        }
        names = [one.name for one in self._decoder.get_outputs()]
        found = dict(zip(names, self._decoder.run(None, given), strict=True))
        masks = np.asarray(found.get("masks", next(iter(found.values()))))
        surest = int(np.argmax(found["iou_predictions"])) if "iou_predictions" in found and masks.shape[1] > 1 else 0
        return np.asarray(masks[0, surest] > 0, np.bool_)


def points_of(prompts: Prompts) -> tuple[Floats, Floats]:
    """Clicks and box as a decoder takes them: points (N, 2) x, y in px of the image, and what each is (N,).

    A box is two points; without one there is a point that means nothing, as the export wants it.
    """
    points = [*prompts.positive, *prompts.negative]
    labels = [_ON] * len(prompts.positive) + [_BESIDE] * len(prompts.negative)
    if prompts.box_ltrb is None:
        points, labels = [*points, (0.0, 0.0)], [*labels, _NO_POINT]
    else:
        left, top, right, bottom = prompts.box_ltrb
        points, labels = [*points, (left, top), (right, bottom)], [*labels, _TOP_LEFT, _BOTTOM_RIGHT]
    return np.array(points, np.float32), np.array(labels, np.float32)


def _rgb(image: bytes) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(image)) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except Exception as error:  # what Pillow raises for damaged files is not to be listed
        raise DataError(f"cannot be read as an image: {error}") from error


def _resized(pixels: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize(size_hw[::-1], Image.Resampling.BILINEAR))


def _session(path: Path, option: str) -> Session:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "sam") from None
    if not path.is_file():
        raise ConfigError("there is no such file", where=f"{option} {path}")
    try:
        session: Session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise ConfigError(
            f"cannot be loaded as an ONNX model: {str(error).splitlines()[0]}", where=f"{option} {path}"
        ) from error
    return session
