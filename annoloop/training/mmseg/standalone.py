"""Predict images with the model beside this file: a PNG of class indices, with the classes' colours, for each.

    python predict.py IMAGE... --out DIR

Needs numpy, Pillow, and onnxruntime for model.onnx or torch for model.pt; nothing of annoloop.  The fact to know:
model.json says how the model is used: large images in windows, and where it says so the mean with the mirror image.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]
Run = Callable[[Pixels], npt.NDArray[np.float32]]


class Model:
    """The model of a folder: pixels in, probabilities or class indices out."""

    def __init__(self, folder: Path) -> None:
        """Load it."""
        self.about: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        file = folder / self.about["file"]
        self._run = _onnx(file) if self.about["format"] == "onnx" else _torchscript(file)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """(K, H, W) of RGB pixels (H, W, 3), all at once: memory grows with K times H times W."""
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        found = self._run(image)[0]
        if self.about["flips"]:
            mirrored = self._run(np.ascontiguousarray(image[..., ::-1]))[0]
            found = (found + mirrored[..., ::-1]) / 2
        return np.asarray(found, np.float32)

    def indices(self, pixels: Pixels) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The class of every pixel, (H, W); a large image is predicted in windows that overlap."""
        rule, (height, width) = self.about["windows"], pixels.shape[:2]
        found = np.empty((height, width), np.uint8 if len(self.about["classes"]) <= 1 << 8 else np.uint16)
        if height * width * rule["scale"] ** 2 <= rule["whole_px"]:
            found[:] = self.probabilities(pixels).argmax(axis=0)
            return found
        for rows, used_rows in _spans(height, rule["side_px"], rule["margin_px"]):
            for columns, used_columns in _spans(width, rule["side_px"], rule["margin_px"]):
                part = self.probabilities(pixels[rows, columns]).argmax(axis=0)
                used = _within(used_rows, rows), _within(used_columns, columns)
                found[used_rows, used_columns] = part[used]
        return found


def read_image(path: Path) -> Pixels:
    """An image as RGB (H, W, 3), upright; of 16 bits the upper 8."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
        return np.asarray(upright.convert("RGB"))


def write_indices(path: Path, indices: npt.NDArray[np.unsignedinteger[Any]], classes: Sequence[dict[str, Any]]) -> None:
    """A PNG of class indices; up to 256 classes have their colours in its palette."""
    picture = Image.fromarray(indices)
    if indices.dtype == np.uint8:
        picture.putpalette([level for one in classes for level in one["rgb"]])
    beside = path.with_name(f".{path.name}.part")
    picture.save(beside, format="PNG")
    beside.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict the images of the command line, and say where each prediction is."""
    parser = argparse.ArgumentParser(description="Class indices of images as PNGs, by the model beside this file.")
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the PNGs are written")
    given = parser.parse_args(arguments)
    Image.MAX_IMAGE_PIXELS = None  # a scene that somebody names is no attack; in a service Pillow's own limit stays
    targets = {image: given.out / f"{image.stem}.png" for image in given.images}
    if len(set(targets.values())) < len(targets):
        sys.exit("two images have the same name, and so have their predictions: give them in two calls")
    originals = {image.resolve() for image in targets}
    if mixed := [target for target in targets.values() if target.resolve() in originals]:
        sys.exit(f"{mixed[0]}: is an image, and its prediction would take its place: choose another --out")
    model = Model(Path(__file__).resolve().parent)
    given.out.mkdir(parents=True, exist_ok=True)
    for image, target in targets.items():
        try:
            pixels = read_image(image)
        except (OSError, SyntaxError, ValueError) as error:
            sys.exit(f"{image}: cannot be read as an image ({error})")
        write_indices(target, model.indices(pixels), model.about["classes"])
        print(f"{image} -> {target}", flush=True)


def _onnx(file: Path) -> Run:
    try:
        import onnxruntime
    except ImportError:
        sys.exit("onnxruntime is not installed: pip install -r requirements.txt")
    there = onnxruntime.get_available_providers()
    providers = [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in there]
    session = onnxruntime.InferenceSession(str(file), providers=providers)
    return lambda image: np.asarray(session.run(None, {"image": image})[0])


def _torchscript(file: Path) -> Run:
    try:
        import torch
    except ImportError:
        sys.exit("torch is not installed: pip install -r requirements.txt")
    model = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(image: Pixels) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(image)).numpy())

    return run


def _spans(length: int, side: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """What each window looks at, and the part of it that is used, which has ``margin`` px around it."""
    begin = 0
    while begin < length:
        first = 0 if length <= side else max(0, min(begin - margin, length - side))
        last = min(length, first + side)
        end = length if last == length else last - margin
        yield slice(first, last), slice(begin, end)
        begin = end


def _within(used: slice, window: slice) -> slice:
    return slice(used.start - window.start, used.stop - window.start)


if __name__ == "__main__":
    main()
