"""What the project's model does for an annotator: a detector, an interactor and, where one is given, a SAM decoder.

Not here: HTTP.  The fact to know: names are made of the project's, so that two projects can serve one CVAT.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from annoloop.masks.classes import class_table
from annoloop.serving.calls import Tool
from annoloop.serving.clicks import Prompts, clicked
from annoloop.serving.detection import detected
from annoloop.serving.model import Answer, ServedModel
from annoloop.serving.nuclio import (
    Function,
    detections_json,
    image_of,
    mask_json,
    prompts_of,
    threshold_of,
)
from annoloop.serving.sam import SamDecoder
from annoloop.training.predictor import Prediction


class Toolbox:
    """The tools as they are now."""

    def __init__(self, model: ServedModel, project: str, sam: SamDecoder | None) -> None:
        self._model, self._project, self._sam = model, project, sam
        self._name = f"annoloop-{_slug(project)}"
        self.port, self.sam_port = 0, 0
        _warm_up()

    def now(self) -> list[Tool]:
        """The detector first; names and classes are those of the model that answers now."""
        tools = [Tool(self._detector(), self._detect), Tool(self._interactor(), self._interact)]
        if self._sam is not None:
            tools.append(Tool(self._sam_interactor(), self._segment))
        return tools

    def _detector(self) -> Function:
        classes = self._model.classes
        labels = tuple(c.name for c in classes.classes if c.index != classes.background_index)
        return Function(
            self._name,
            "detector",
            f"{self._project} (run {self._model.run})",
            f"the current model of the annoloop project {self._project}: draws all its classes",
            "draws what the model sees",
            labels,
            self.port,
        )

    def _interactor(self) -> Function:
        return Function(
            f"{self._name}-click",
            "interactor",
            f"{self._project}: click (run {self._model.run})",
            f"takes the regions of the current model of the annoloop project {self._project}",
            "a click takes the model's region, a negative click takes it away, a box takes what is in it",
            port=self.port,
        )

    def _sam_interactor(self) -> Function:
        return Function(
            f"{self._name}-sam",
            "interactor",
            f"{self._project}: SAM",
            "a SAM-type decoder of your own",
            "clicks on the object and beside it, or a box around it",
            port=self.sam_port,
        )

    def _detect(self, payload: dict[str, Any]) -> list[bytes]:
        threshold = threshold_of(payload)
        image, _ = image_of(payload)
        return detections_json(detected(self._model.answer(image), threshold))

    def _interact(self, payload: dict[str, Any]) -> list[bytes]:
        image, size_hw = image_of(payload)
        prompts = prompts_of(payload, size_hw)
        answer = self._model.answer(image)
        return mask_json(clicked(answer.prediction.label_map, prompts, answer.unshown))

    def _segment(self, payload: dict[str, Any]) -> list[bytes]:
        assert self._sam is not None
        image, size_hw = image_of(payload)
        return mask_json(self._sam.segment(image, prompts_of(payload, size_hw)))


def _warm_up() -> None:
    """Load now what the first annotator would wait for."""
    label_map = np.array([[0, 1], [1, 1]], np.uint8)
    answer = Answer(Prediction(label_map, label_map), class_table(["background", "any"], background="background"), 0, 0)
    detections_json(detected(answer))
    mask_json(clicked(label_map, Prompts(positive=((1, 1),)), answer.unshown))


def _slug(name: str) -> str:
    """A name that may stand in a URL: small letters, digits and hyphens, as Nuclio's have to be."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "project"
