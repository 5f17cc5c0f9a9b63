"""Images that come in one by one are predicted as ``predict`` predicts files, and go back as bytes.

Not here: who asks (``training/predictor.py``).  The facts to know: an image is put into a file of the job's own folder,
so that the recipe's pipeline reads it as it reads every other; and one that cannot be predicted ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from mmengine.config import Config

from annoloop.errors import TrainingError
from annoloop.training.framing import read_framed
from annoloop.training.mmseg.predict import Maps, Network
from annoloop.training.records import Event

Send = Callable[..., None]
"""Called with an event and the bytes that follow it."""


def answer_requests(model: torch.nn.Module, config: Config, requests: IO[bytes], scratch: Path, send: Send) -> int:
    """Answer until ``requests`` ends; returns how many were answered with a prediction.

    A ``prediction`` (height, width, dtype) is followed by the class indices, H x W of that type, and as many bytes of
    confidences; an ``error`` (message) by nothing.
    """
    model.eval()
    network, answered = Network(model, config), 0
    while (image := read_framed(requests)) is not None:
        try:
            indices, confidences = _maps(network, image, scratch)
        except TrainingError as error:
            send(Event("error", {"message": error.message.replace(str(scratch), "the image")}))
            continue
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            send(Event("error", {"message": _too_large(error)}))
            continue
        height, width = indices.shape
        about = {"height": height, "width": width, "dtype": indices.dtype.str}
        send(Event("prediction", about), indices.tobytes(), confidences.tobytes())
        answered += 1
    return answered


def _maps(network: Network, image: bytes, scratch: Path) -> Maps:
    try:
        scratch.write_bytes(image)
        item: dict[str, Any] = network.read(scratch)
        (maps,) = network.maps([item])
        return maps
    finally:
        scratch.unlink(missing_ok=True)


def _too_large(error: BaseException) -> str:
    # On a CPU torch raises a plain RuntimeError.
    if type(error) is RuntimeError and "allocate memory" not in str(error):
        return f"cannot be predicted: {str(error).splitlines()[0]}"
    return "there is too little memory to predict an image of this size"
