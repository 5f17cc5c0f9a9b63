"""``annoloop retrain``: train on the current masks, score, and promote only what is better (law 8).

Candidate and current model are compared on the same validation images with the same current masks.
The fact to know: the same command finds a run that was cut off and goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from annoloop.data import geotiff
from annoloop.data.images import file_sha256, image_size_hw
from annoloop.data.mmseg_folders import UNLABELLED, Sample, check_label_map, read_label_map
from annoloop.eda.gate import check_training_pixels, never_predicted
from annoloop.errors import AnnoloopError, ConfigError, DataError, Interrupted
from annoloop.loop.folds import Fold, predict_out_of_fold, split_folds
from annoloop.loop.plan import PlanReport, measured
from annoloop.loop.promotion import verdict
from annoloop.loop.tracked import tell_verdict, tracker_of, tracking
from annoloop.loop.training_request import RetrainRequest, chosen_recipe, length_of, recipe_file, starting_point
from annoloop.masks.value_counts import value_counts
from annoloop.metrics.scores import Comparison, compare, scores
from annoloop.progress import Track, silent
from annoloop.project.near_duplicates import refuse_test_images
from annoloop.project.project import Project
from annoloop.project.rows import ImageRow, RunRow
from annoloop.selection.scoring import Scored, Watch, missing_predictions, score, stacked, total, unwatched
from annoloop.tracking.tracker import Tracked
from annoloop.training.child import require_training, run_job
from annoloop.training.planning import AUTO, Length
from annoloop.training.records import Event, Job, Result, result_of


@dataclass(frozen=True, slots=True)
class RetrainReport:
    """A finished run and the verdict on it; Dice as fractions of 1 over the validation split.

    ``out_of_fold``: training images that a model of another fold has predicted.  ``never_predicted``: classes that are
    in the validation labels and nowhere in the predictions.  ``tracked``: where the training was followed, too.
    """

    run: int
    recipe: str
    device: str
    parent: int | None
    resumed: bool
    iterations: int
    seconds: float
    train_images: int
    val_images: int
    mean_dice: float
    mean_iou: float
    dice: Mapping[str, float]
    current_mean_dice: float | None
    comparison: Comparison | None
    promoted: bool
    verdict: str
    checkpoint: str
    out_of_fold: int
    never_predicted: tuple[str, ...]
    tracked: Tracked | None = None


def retrain(
    project: Project,
    request: RetrainRequest,
    *,
    track: Track = silent,
    watch: Watch = unwatched,
) -> RetrainReport:
    """Train, predict the validation split, compare with the current model, and judge.

    Raises:
        MissingExtraError: torch or an mm* package is not installed.
        ConfigError: no such recipe, or a tracker that cannot be reached.
        DataError: an empty split, masks that cannot be used, or images that are in the test split too.
        TrainingError: the training process failed.
        Interrupted: ^C; the last checkpoint is kept and the same command goes on from it.
    """
    require_training()
    began_at = time.time()
    tracker = tracker_of(project, request, watch)
    train, val = _labelled(project, "train", UNLABELLED), _labelled(project, "val")
    champion = project.current_run()
    recipe = chosen_recipe(project, request, champion, watch)
    project.pretrained(request.pretrained or project.config.train.pretrained)  # refused before anything is begun
    watch(_announced(project, request, recipe, len(train), len(val)))
    here = project.on_disk([*train, *val], track)
    rows = project.scan([*train, *val], track)
    train_here, val_here = here[: len(train)], here[len(train) :]
    if not request.allow_test_images:
        refuse_test_images(project, rows, track)
    pixels = _check_and_count(project, train_here, val_here, track)
    for said in check_training_pixels(
        [pixels[s.id] for s in train], [pixels[s.id] for s in val], project.classes,
        where=project.config.data.root, allow_missing=request.allow_missing_classes,
    ):  # fmt: skip
        watch(Event("warning", {"message": said}))
    folds = split_folds(train_here, rows, request.folds) if request.folds else []
    parent = None if request.from_scratch else starting_point(champion, recipe, watch)
    digest = _digest(project, request, parent, recipe, rows)
    run, resumed = _begin(project, digest, recipe, parent)
    config = recipe_file(project, request, run, recipe, train, len(val), track, watch)
    job = _job(project, request, run, parent, config, train_here, [(s, rows[s.id]) for s in val_here], pixels, began_at)
    with tracking(project, tracker, run, job, {"train": train, "val": val}, rows, watch) as told:
        watch(Event("starting"))
        left = result_of(job.run_dir) if resumed else None
        result = left or _train(project, run, job, told.watch)
        _note_config(project, run, anew=left is None)
        out_of_fold = _predict_out_of_fold(project, run, job, folds, watch)
        candidate = score(project, run, val, track=track, watch=watch)
        current = None if champion is None else score(project, champion, val, track=track, watch=watch)
        report = _judge(
            project, run, parent, result, candidate, current, resumed=resumed,
            train_images=len(train), out_of_fold=out_of_fold, allow_missing=request.allow_missing_classes,
        )  # fmt: skip
        tell_verdict(told, project, report, candidate)
    return replace(report, tracked=told.outcome)


def plan_training(
    project: Project, request: RetrainRequest, *, track: Track = silent, watch: Watch = unwatched
) -> PlanReport:
    """What ``retrain`` would do for the same request, and how long each part would take; nothing is trained.

    Raises:
        MissingExtraError: torch or an mm* package is not installed.
        ConfigError: no such recipe.
        DataError: an empty split, or nothing that can be read.
        TrainingError: the recipe does not train.
    """
    require_training()
    train, val = _labelled(project, "train", UNLABELLED), _labelled(project, "val")
    recipe = chosen_recipe(project, request, project.current_run(), watch)
    iterations, budget_s = length_of(project, request)
    return measured(project, recipe, train, val, Length(iterations, budget_s), device=request.device, track=track)


def _announced(project: Project, request: RetrainRequest, recipe: str, train: int, val: int) -> Event:
    """What is about to happen, and how long it will take as far as that is known before it was tried."""
    iterations, budget_s = length_of(project, request)
    facts = {"recipe": recipe, "train_images": train, "val_images": val, "folds": request.folds}
    facts |= {"iterations": iterations, "budget_s": None if budget_s is None else budget_s * (1 + request.folds)}
    for run in reversed(project.ledger.runs()):
        before = result_of(project.run_dir(run.id)) if run.recipe == recipe else None
        if before is not None and before.iterations:
            facts |= {
                "like_run": run.id,
                "expected_s": before.seconds / before.iterations * (iterations or before.iterations),
            }
            break
    return Event("announced", facts)


def _labelled(project: Project, split: str, *more: str) -> list[Sample]:
    """The images with a mask of a split, and of further ones where annoloop.yaml has them."""
    if split not in project.config.data.splits:
        raise ConfigError(f"training needs a split {split!r}", where=project.path, hint="see data.splits")
    wanted = [name for name in (split, *more) if name in project.config.data.splits]
    found = [s for s in project.samples(wanted) if s.mask is not None]
    if not found:
        raise DataError(f"split {split!r} has no image with a mask", where=project.config.data.root)
    return found


def _check_and_count(
    project: Project, train: Sequence[Sample], val: Sequence[Sample], track: Track
) -> dict[str, tuple[int, ...]]:
    """Look at every mask before hours go into training, and count the classes of each, by sample."""
    geotiff.require_for(sample.image for sample in (*train, *val))
    pixels: dict[str, tuple[int, ...]] = {}
    faults = []
    for sample in track([*train, *val], "checking masks", len(train) + len(val)):
        assert sample.mask is not None
        try:
            label_map = read_label_map(sample.mask, project.config.data)
            check_label_map(label_map, image_size_hw(sample.image), project.classes, sample.mask)
        except AnnoloopError as error:
            faults.append(f"\n  {error.where or sample.mask}: {error.message}")
            continue
        counts = value_counts(label_map, len(project.classes))
        pixels[sample.id] = tuple(counts[: len(project.classes)].tolist())
    if faults:
        raise DataError(
            f"{len(faults)} images or masks cannot be used:" + "".join(faults[:10]),
            hint="annoloop doctor lists all of them",
        )
    return pixels


def _digest(
    project: Project,
    request: RetrainRequest,
    parent: RunRow | None,
    recipe: str,
    rows: Mapping[str, ImageRow],
) -> str:
    """Equal for the same command on the same data and model."""
    asked = [
        AUTO if recipe == AUTO else file_sha256(project.recipe(recipe)),
        project.config.train.of_a_model(),
        [request.iterations, request.budget_s, request.pretrained, request.seed, request.folds],
        None if parent is None else parent.id,
        project.classes.digest,
        sorted((r.sample_id, r.image_sha256, r.mask_sha256) for r in rows.values()),
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _begin(project: Project, digest: str, recipe: str, parent: RunRow | None) -> tuple[RunRow, bool]:
    cut_off = project.ledger.unfinished_run(digest)
    if cut_off is not None:
        return cut_off, (project.run_dir(cut_off.id) / "last.pth").is_file()
    number = project.ledger.add_run(
        kind_digest=digest,
        recipe=recipe,
        parent_id=None if parent is None else parent.id,
        class_digest=project.classes.digest,
        above=project.highest_run_folder(),  # of a ledger that was lost or is older: another run's files are not ours
    )
    return project.ledger.run(number), False


def _job(
    project: Project,
    request: RetrainRequest,
    run: RunRow,
    parent: RunRow | None,
    recipe: Path,
    train: Sequence[Sample],
    val: Sequence[tuple[Sample, ImageRow]],
    pixels: Mapping[str, tuple[int, ...]],
    began_at: float,
) -> Job:
    settings, run_dir = project.config.train, project.run_dir(run.id)
    iterations, budget_s = length_of(project, request)
    return project.job(
        "train",
        run_dir,
        recipe=recipe,
        train=tuple((s.image, s.mask) for s in train),
        val=tuple((s.image, s.mask) for s, _ in val),
        iterations=iterations,
        budget_s=budget_s,
        began_at=None if budget_s is None else began_at,
        device=request.device or settings.device,
        processes=request.gpus or settings.gpus,
        nodes=request.nodes or settings.nodes,
        pretrained=project.pretrained(request.pretrained or settings.pretrained),
        seed=settings.seed if request.seed is None else request.seed,
        init_checkpoint=None if parent is None else project.best_checkpoint(parent.id),
        resume=(run_dir / "last.pth").is_file(),
        predictions=missing_predictions(project, run.id, val),
        train_pixels=tuple(pixels[sample.id] for sample in train),
        val_pixels=tuple(pixels[sample.id] for sample, _ in val),
    )


def _train(project: Project, run: RunRow, job: Job, watch: Watch) -> Result:
    try:
        return run_job(job, watch)
    except Interrupted:
        project.ledger.end_run(run.id, "stopped")
        raise
    except AnnoloopError:
        project.ledger.end_run(run.id, "failed")
        raise


def _note_config(project: Project, run: RunRow, *, anew: bool) -> None:
    """Which bytes the run's config has that its training left, before anybody runs it: it is code."""
    if anew or project.ledger.run(run.id).config_sha256 is None:
        project.ledger.put_run_config(run.id, file_sha256(project.run_config(run.id)))


def _predict_out_of_fold(project: Project, run: RunRow, job: Job, folds: Sequence[Fold], watch: Watch) -> int:
    try:
        return predict_out_of_fold(project, run.id, job, folds, watch)
    except AnnoloopError:
        project.ledger.end_run(run.id, "stopped")  # the model is whole: the same command goes on with the folds
        raise


def _judge(
    project: Project,
    run: RunRow,
    parent: RunRow | None,
    result: Result,
    candidate: Sequence[Scored],
    current: Sequence[Scored] | None,
    *,
    resumed: bool,
    train_images: int,
    out_of_fold: int,
    allow_missing: bool,
) -> RetrainReport:
    background = project.classes.background_index
    found, found_before = total(candidate), None if current is None else total(current)
    reached = scores(found, background)
    before = None if found_before is None else scores(found_before, background)
    comparison = None if current is None else compare(stacked(candidate), stacked(current))
    promoted, said = verdict(project.classes, found, found_before, comparison, allow_missing=allow_missing)
    project.ledger.judge_run(run.id, val_dice=reached.mean_dice, promoted=promoted, verdict=said)
    return RetrainReport(
        run=run.id,
        recipe=run.recipe,
        device=result.device,
        parent=None if parent is None else parent.id,
        resumed=resumed,
        iterations=result.iterations,
        seconds=result.seconds,
        train_images=train_images,
        val_images=len(candidate),
        mean_dice=reached.mean_dice,
        mean_iou=reached.mean_iou,
        dice=dict(zip(project.classes.names, reached.dice, strict=True)),
        current_mean_dice=None if before is None else before.mean_dice,
        comparison=comparison,
        promoted=promoted,
        verdict=said,
        checkpoint=str(project.best_checkpoint(run.id)),
        out_of_fold=out_of_fold,
        never_predicted=never_predicted(found, project.classes),
    )
