"""The model as a function of cvat-sdk: ``cvat-cli task auto-annotate 12 --function-module annoloop.cvat.function``.

Not here: HTTP (``server.py``).  The fact to know: cvat-sdk hands over decoded pixels; where these are an image of the
project, the prediction is that of the file itself, which is what ``evaluate`` scored.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from annoloop.data.images import read_bytes, read_image
from annoloop.data.mmseg_folders import Sample
from annoloop.errors import AnnoloopError, ConfigError
from annoloop.masks.regions import Region, tight
from annoloop.masks.run_lengths import to_cvat_runs
from annoloop.project.project import open_project
from annoloop.serving.clicks import Prompts, clicked
from annoloop.serving.detection import detected, outline
from annoloop.serving.model import Answer, ServedModel

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("detector", "interactor")

_AS_IT_IS = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Pillow's modes that a PNG holds without a change."""


def create(project: str = ".", kind: str = "detector") -> Any:
    """The function object that cvat-cli and agents ask for; parameters as ``-p project=str:DIR``.

    Args:
        project: a folder in the project, or above which it is found.
        kind: "detector" draws all that the model sees, "interactor" what an annotator clicks.

    Raises:
        ConfigError: no such kind, no project, or no model yet; or cvat-sdk is too old for an interactor.
        TrainingError: the model cannot be loaded.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of function", where="kind", hint=" or ".join(KINDS))
    with open_project(Path(project)) as opened:
        model = ServedModel(opened)
        frames = _Frames(opened.samples())
    return Detector(model, frames) if kind == "detector" else Interactor(model)


class _OfModel:
    """A function of a model, whose process ends with this one, or before."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def close(self) -> None:
        """End the model's process; once more does nothing."""
        self._model.close()


class Detector(_OfModel):
    """cvat-sdk's ``DetectionFunction``: every region of the prediction as a mask."""

    def __init__(self, model: ServedModel, frames: _Frames) -> None:
        import cvat_sdk.auto_annotation as cvataa

        super().__init__(model)
        self._sdk, self._frames = cvataa, frames
        classes = model.classes
        shown = [c for c in classes.classes if c.index != classes.background_index]
        self._ids = {c.name: c.index for c in shown}
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec(c.name, c.index, type="mask") for c in shown]
        )

    def detect(self, context: Any, image: Image.Image) -> Sequence[Any]:
        """Shapes of one frame; ``context`` has its name and, in newer versions, a threshold and the wish for polygons.

        Raises:
            DataError: the image cannot be predicted.
            TrainingError: the predicting process failed.
        """
        name = str(getattr(context, "frame_name", ""))
        answer = self._model.answer(self._frames.file_of(name, image) or encoded(image))
        found = detected(answer, getattr(context, "conf_threshold", None))
        if getattr(context, "conv_mask_to_poly", False):
            return [self._sdk.polygon(self._ids[one.label], outline(one.region)) for one in found]
        return [self._sdk.mask(self._ids[one.label], _points(one.region)) for one in found]


class Interactor(_OfModel):
    """cvat-sdk's ``InteractionFunction``: the regions that an annotator clicks."""

    def __init__(self, model: ServedModel) -> None:
        import cvat_sdk.auto_annotation as cvataa

        if not hasattr(cvataa, "InteractionFunctionSpec"):
            raise ConfigError("this cvat-sdk knows no interactors", hint="pip install -U cvat-sdk cvat-cli")
        super().__init__(model)
        self._sdk = cvataa
        self.spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(self, context: Any, image: Image.Image) -> Answer:  # noqa: ARG002 - the protocol has it
        """The prediction, which serves every click on the image."""
        return self._model.answer(encoded(image))

    def detect(self, context: Any, pp_image: Answer, prompts: Any) -> list[Any]:  # noqa: ARG002 - the protocol has it
        """The mask that the prompts take; none where they take nothing."""
        box = prompts.bounding_box
        wanted = Prompts(
            _inside(prompts.pos_points),
            _inside(prompts.neg_points),
            None if box is None else (*map(float, box[0]), *map(float, box[1])),  # type: ignore[arg-type]
        )
        region = tight(0, clicked(pp_image.prediction.label_map, wanted, pp_image.unshown))
        if region is None:
            return []
        return [self._sdk.InteractionResultShape(type="mask", points=_points(region))]


class _Frames:
    """The project's images by the names that frames of a task have."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = {PurePosixPath(sample.id).name: sample for sample in samples}
        self._samples |= {sample.id: sample for sample in samples}

    def file_of(self, frame_name: str, image: Image.Image) -> bytes | None:
        """The bytes of the project's image of this name, if it has these very pixels."""
        path = PurePosixPath(frame_name)
        sample = self._samples.get(str(path.with_suffix(""))) or self._samples.get(path.stem)
        if sample is None:
            return None
        try:
            same = np.array_equal(read_image(sample.image), _upright_rgb(image))
            return read_bytes(sample.image) if same else None
        except AnnoloopError:
            return None


def encoded(image: Image.Image) -> bytes:
    """Decoded pixels as the bytes of a file, without a loss where a PNG can hold them."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    stream = io.BytesIO()
    (upright if upright.mode in _AS_IT_IS else upright.convert("RGB")).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _upright_rgb(image: Any) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(encoded(image))) as opened:
        return np.asarray(opened.convert("RGB"))


def _points(region: Region) -> list[float]:
    return list(map(float, to_cvat_runs(region)))


def _inside(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    return tuple((max(0.0, float(x)), max(0.0, float(y))) for x, y in points)
