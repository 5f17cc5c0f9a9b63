"""Functions for models: train one, score one, look at what it says, offer it to annotators.

Not here: how it is done (``loop/``, ``app/``, ``serving/``).  The fact to know: training and prediction are child
processes, whose events ``watch`` is called with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from annoloop.api.arguments import Place, budget_s, names_of, places_of
from annoloop.app import browse as _browse
from annoloop.app.browse import BrowseSession, ExportReport
from annoloop.errors import ConfigError, check_argument
from annoloop.loop import evaluate as _evaluate
from annoloop.loop import retrain as _retrain
from annoloop.loop.evaluate import EvaluateReport
from annoloop.loop.plan import PlanReport
from annoloop.loop.prediction import predict as _predict
from annoloop.loop.prediction.predict import PredictPlan, PredictReport
from annoloop.loop.retrain import RetrainReport
from annoloop.loop.training_request import Device, RetrainRequest
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.selection.scoring import Watch, unwatched
from annoloop.serving import server as _server
from annoloop.serving.server import LISTEN, ServeSession
from annoloop.tracking.tracker import TrackerName


def retrain(
    project: Project,
    *,
    recipe: str | None = None,
    budget: str | float | None = None,
    iterations: int | None = None,
    device: Device | None = None,
    gpus: int | None = None,
    nodes: int | None = None,
    pretrained: str | None = None,
    seed: int | None = None,
    from_scratch: bool = False,
    allow_test_images: bool = False,
    allow_missing_classes: bool = False,
    folds: int = 0,
    tracker: TrackerName | None = None,
    track: Track = silent,
    watch: Watch = unwatched,
) -> RetrainReport:
    """Train on the current masks in a child process, and promote the model if it is better; as ``annoloop retrain``.

    What is None is as annoloop.yaml or the recipe says.  The same call goes on with a training that was cut off.

    Args:
        recipe: the name of a shipped one, or the path of an mmseg config.
        budget: how long all of it may take, like "1h30m", or in seconds; not with ``iterations``.
        folds: so many more trainings (0, or 2 to 10) for predictions by models that have not seen the label.
        tracker: "mlflow", "tensorboard", "wandb" or "none", in place of ``train.track`` in annoloop.yaml.
        watch: is called with every event of the training process.

    Returns:
        the run and the verdict on it; Dice as fractions of 1 over the validation split.

    Raises:
        ConfigError: no such recipe, an argument that cannot be, or a tracker that cannot be reached.
        DataError: a split without masks, masks that cannot be used, images that are in the test split too, or a class
            without a pixel in training.
        LedgerError: another annoloop is at work in the project.
        TrainingError: the training process failed.
        Interrupted: ^C; the last checkpoint is kept.
    """
    request = RetrainRequest(
        recipe, iterations, budget_s(budget), device, gpus, nodes, pretrained, seed,
        from_scratch=from_scratch, allow_test_images=allow_test_images,
        allow_missing_classes=allow_missing_classes, folds=folds, tracker=tracker,
    )  # fmt: skip
    with project.locked("retrain"):
        return _retrain.retrain(project, request, track=track, watch=watch)


def plan_training(
    project: Project,
    *,
    recipe: str | None = None,
    budget: str | float | None = None,
    iterations: int | None = None,
    device: Device | None = None,
    track: Track = silent,
    watch: Watch = unwatched,
) -> PlanReport:
    """What ``retrain`` would do and why, and how long each part would take; as ``annoloop retrain --plan``.

    A few iterations are tried on the project's own images; nothing is kept of them.

    Raises:
        ConfigError: no such recipe, or an argument that cannot be.
        DataError: a split without masks, or nothing that can be read.
        TrainingError: the recipe does not train.
    """
    request = RetrainRequest(recipe, iterations, budget_s(budget), device)
    return _retrain.plan_training(project, request, track=track, watch=watch)


def evaluate(
    project: Project,
    *,
    run: int | None = None,
    splits: Sequence[str] = ("val",),
    show: int = 4,
    report: bool = False,
    against: int | None = None,
    track: Track = silent,
    watch: Watch = unwatched,
) -> EvaluateReport:
    """Score a model on the current masks and save pictures of its best and worst images; as ``annoloop evaluate``.

    Args:
        run: default: the current model.
        show: how many best and worst images of each split are drawn.
        report: write one HTML page on all errors, too.
        against: the run that the page compares with; default: the one before.

    Returns:
        scores per split and class, as fractions of 1; ``page`` is the HTML page.

    Raises:
        ConfigError: there is no model yet, no such split, or ``against`` cannot be compared with.
        DataError: a split without masks.
        LedgerError: no such run, or another annoloop is at work in the project.
        TrainingError: the predicting process failed.
    """
    if against is not None and not report:
        raise ConfigError("says what a report compares with: set report, too", where="against")
    with project.locked("evaluate"):
        return _evaluate.evaluate(
            project,
            run_id=run,
            splits=names_of(splits),
            show=show,
            report=report,
            against=against,
            track=track,
            watch=watch,
        )


def predict(
    project: Project,
    paths: Place | Sequence[Place],
    out: str | Path,
    *,
    run: int | None = None,
    every: int = 1,
    confidence: bool = False,
    overlay: bool = False,
    coco: bool = False,
    device: Device | None = None,
    force: bool = False,
    track: Track = silent,
    say: Say = unsaid,
    watch: Watch = unwatched,
) -> PredictReport:
    """Write masks of any images into a folder, the same that ``evaluate`` scores; as ``annoloop predict``.

    The same call goes on where one was cut off, and takes what is new.  Data set and ledger are not touched.

    Args:
        paths: folders, images, videos, patterns, lists in .txt files, URLs of an object store.
        out: gets masks/, PNGs of class indices (H, W) of the size of each image, and what else is asked for.
        run: default: the current model.
        every: of videos, each so many-th frame.
        confidence: PNGs of round(255 * probability of the class), too.
        overlay: JPEGs of the classes on the images, too.
        coco: all regions in one COCO file, too.
        force: predictions of another model in this folder make room.

    Returns:
        what was predicted, how fast, and in ``faults`` the images of which there is no prediction.

    Raises:
        ConfigError: there is no such model, or the folder is within the images.
        DataError: nothing to predict, or the folder holds something else.
        MissingExtraError: what it needs is not installed.
        StoreError: an object store refuses, or cannot be reached.
        TrainingError: the predicting process failed.
        Interrupted: ^C; what is predicted is kept.
    """
    request = _predict.PredictRequest(places_of(paths), Path(out), run, every, confidence, overlay, coco, force, device)
    return _predict.predict(project, request, track=track, say=say, watch=watch)


def plan_prediction(
    project: Project, paths: Place | Sequence[Place], out: str | Path, *, run: int | None = None, every: int = 1
) -> PredictPlan:
    """What ``predict`` would do, with which model; as ``annoloop predict --dry-run``.

    Raises:
        ConfigError: as ``predict``.
        DataError: as ``predict``.
    """
    return _predict.plan_prediction(project, _predict.PredictRequest(places_of(paths), Path(out), run, every))


def browse(
    project: Project,
    *,
    port: int | None = 5151,
    open_page: bool = True,
    say: Say = unsaid,
    track: Track = silent,
) -> BrowseSession:
    """Show truth, predictions and errors in the FiftyOne App; as ``annoloop browse``.

    Args:
        port: on 127.0.0.1; None only brings the FiftyOne dataset in step.

    Returns:
        the report with the App's address, and the App: ``wait()`` serves until ^C, ``close()`` ends it.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: there is no MongoDB, the port is taken, or the App does not come up.
        DataError: a file cannot be read.
    """
    check_argument("port", port, port is None or 0 < port < 1 << 16, "1 to 65535")
    return _browse.browse(project, port=port, open_page=open_page, say=say, track=track)


def export_gallery(project: Project, folder: str | Path, *, track: Track = silent) -> ExportReport:
    """Write a page of pictures of all samples, without FiftyOne; as ``annoloop browse --export``.

    Raises:
        ConfigError: the folder holds something else.
        DataError: a file cannot be read or written.
    """
    return _browse.export(project, Path(folder), track)


def serve(
    project: Project,
    *,
    listen: str = LISTEN,
    sam: str | Path | None = None,
    sam_encoder: str | Path | None = None,
    say: Say = unsaid,
) -> ServeSession:
    """Offer the current model in CVAT, as a detector and a tool for clicks; as ``annoloop serve``.

    Args:
        listen: host:port, of which the host is an address of this machine; port 0 takes a free one.
        sam: a SAM-type decoder in ONNX, with ``sam_encoder``.

    Returns:
        the report with the address, and the server: ``wait()`` serves until ^C, ``close()`` ends it.

    Raises:
        ConfigError: there is no model yet, no such address, or it is taken; a SAM file is none.
        MissingExtraError: what it needs is not installed.
        TrainingError: the model cannot be loaded.
    """
    decoder, encoder = (None if file is None else Path(file) for file in (sam, sam_encoder))
    return _server.serve(project, listen=listen, sam=decoder, sam_encoder=encoder, say=say)
