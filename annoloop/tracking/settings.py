"""Which tracker a training has, and where: from ``train`` of annoloop.yaml, what was asked for, and the environment.

Not here: the trackers.  The facts to know: ``track_uri`` belongs to the tracker that annoloop.yaml names, so another
one that is asked for does not get it; nothing is sent to a place that nobody named.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from annoloop.data.train_section import TrainConfig
from annoloop.errors import ConfigError, MissingExtraError
from annoloop.tracking.tracker import NO_TRACKING, Tracker, TrackerName, without_credentials

PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "wandb": "wandb"}
"""What each tracker needs; the extra has the tracker's name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tracker by name, where it keeps its runs (None: its default), and the project or experiment there."""

    tracker: TrackerName
    uri: str | None
    project: str


def place_of(settings: TrainConfig, asked: TrackerName | None, project: str, file: Path) -> Place | None:
    """Where a training is tracked; None: nowhere.  Paths are relative to ``file``, which is annoloop.yaml.

    Raises:
        ConfigError: MLflow, and nobody said where.
    """
    tracker = asked or settings.track
    if tracker == "none":
        return None
    uri = settings.track_uri if settings.track in ("none", tracker) else None
    if tracker == "mlflow":
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            raise ConfigError(
                "track: mlflow needs to know where its server is",
                where=file,
                hint=f"train.track_uri: http://host:5000, or MLFLOW_TRACKING_URI in the environment; {NO_TRACKING}",
            )
    return Place(tracker, None if uri is None else _beside(uri, file.parent), settings.track_project or project)


def _beside(uri: str, folder: Path) -> str:
    """A URI whose path, if it is one, is absolute."""
    if database := re.fullmatch(r"sqlite:///(?!/)(.+)", uri):
        return f"sqlite:///{(folder / database[1]).resolve()}"
    return uri if uri == "databricks" or re.match(r"[\w+]+:", uri) else str((folder / Path(uri).expanduser()).resolve())


def require_tracker(tracker: TrackerName) -> None:
    """Look for a tracker's package and load nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    found = importlib.util.find_spec(PACKAGES[tracker])
    if found is None or found.origin is None:  # a folder of that name, as wandb leaves one, is no package
        raise MissingExtraError(PACKAGES[tracker], tracker)


def open_tracker(place: Place, state_dir: Path) -> Tracker:
    """A tracker that answers; ``state_dir`` is where it may keep files of its own.

    Raises:
        MissingPackageError: what it needs is not installed.
        ConfigError: it cannot be reached, or refuses.
    """
    require_tracker(place.tracker)
    if place.tracker == "mlflow":
        from annoloop.tracking.mlflow_runs import MlflowTracker

        assert place.uri is not None
        return MlflowTracker(place.uri, place.project)
    if place.tracker == "wandb":
        from annoloop.tracking.wandb_runs import WandbTracker

        return WandbTracker(place.uri, place.project, state_dir)
    from annoloop.tracking.tensorboard_files import TensorboardTracker

    if place.uri is not None and "://" in place.uri:
        hint = f"train.track_uri names a folder on this machine; {NO_TRACKING}"
        raise ConfigError("TensorBoard keeps its runs in a folder", where=without_credentials(place.uri), hint=hint)
    return TensorboardTracker(state_dir / "tensorboard" if place.uri is None else Path(place.uri))
