"""The section ``train`` of annoloop.yaml: how models are trained, and where their trainings are tracked.

Not here: reading and writing the file (``config.py``).  The fact to know: a training that was cut off is found again by
``of_a_model``, so a key that changes no model must be left out there.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from annoloop.data.data_section import Section
from annoloop.data.durations import seconds_of


class TrainConfig(Section):
    """How models are trained; None means: as the recipe says."""

    recipe: str = "auto"
    """auto: planned from the data, the machine and the time; or the name of a shipped recipe, or the path of an mmseg
    config of your own."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto: on the GPU, if there is one."""
    iterations: int | None = Field(default=None, ge=1)
    """Length of a training in iterations; null: as the recipe says. Not together with ``budget``."""
    budget: str | None = None
    """How long a training may take, scoring included: ``90s``, ``30m``, ``1h30m``; null: ``iterations`` decides."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images in a training step, of all processes together; null: as the recipe says."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of convolutions; auto: bfloat16 where the hardware is faster with it."""
    pretrained: str = "auto"
    """auto: what the recipe names, fetched if need be; none; or a file of weights for its backbone."""
    gpus: int = Field(default=1, ge=1)
    """Processes on each machine, one for each GPU."""
    nodes: int = Field(default=1, ge=1)
    """Machines; inside a slurm job they are started by srun."""
    seed: int = 0
    """Random seed."""

    track: Literal["none", "mlflow", "tensorboard", "wandb"] = "none"
    """Where trainings are tracked, too; nothing is sent anywhere unless it is named here or with ``--track``."""
    track_uri: str | None = None
    """mlflow: the server's URL, or a database as ``sqlite:///mlflow.db``; null: ``MLFLOW_TRACKING_URI`` says it.
    tensorboard: a folder; null: ``.annoloop/tensorboard``. wandb: a server of your own. Paths are relative to this
    file; credentials stand in the environment."""
    track_project: str | None = Field(default=None, min_length=1, max_length=100)
    """Name of the experiment of MLflow, or of the project of Weights & Biases; null: this project's name."""

    @field_validator("budget")
    @classmethod
    def _a_duration(cls, budget: str | None) -> str | None:
        if budget is not None:
            seconds_of(budget)
        return budget

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.iterations is not None and self.budget is not None:
            raise ValueError("iterations or budget, not both")
        return self

    @field_validator("track_uri")
    @classmethod
    def _without_credentials(cls, uri: str | None) -> str | None:
        if uri is not None and re.search(r"://[^/]*@", uri):
            raise ValueError("must hold no credentials: they stand in the environment, see the page on tracking")
        return uri

    def of_a_model(self) -> dict[str, Any]:
        """The keys on which a model depends; where its training is tracked is none of them."""
        return self.model_dump(mode="json", exclude={"track", "track_uri", "track_project"})
