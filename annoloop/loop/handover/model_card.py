"""The card of an exported model: what it is, what it was trained on, how good it is, what for; as Markdown and a page.

Not here: the export.  The facts to know: what nobody stated is said to be not stated; and a card names no file of the
training data, of which it holds a digest and counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annoloop import __version__
from annoloop.data.images import write_atomic
from annoloop.data.mmseg_folders import UNLABELLED, Sample
from annoloop.loop.handover.manifest import content_sha256, entries_of
from annoloop.loop.handover.model_check import Check, scores_of
from annoloop.metrics.scores import Interval, intervals
from annoloop.progress import Track
from annoloop.project.project import Project
from annoloop.project.rows import RunRow
from annoloop.reports import page
from annoloop.selection.scoring import Scored, stacked, total
from annoloop.training.records import Result, result_of

MARKDOWN, PAGE = "MODEL_CARD.md", "model_card.html"
CARD_FILES = (MARKDOWN, PAGE)

NOT_STATED = "not stated"

_WEAK_DICE = 0.5
_TRAINED_ON = "train"


@dataclass(frozen=True, slots=True)
class Stated:
    """What people say of a model; empty where they say nothing."""

    name: str = ""
    author: str = ""
    license: str = ""


@dataclass(frozen=True, slots=True)
class ClassLine:
    """A class with its scores on a split and their intervals, NaN where nothing of it is there."""

    name: str
    dice: float
    dice_interval: Interval
    iou: float
    iou_interval: Interval


@dataclass(frozen=True, slots=True)
class SplitScores:
    """How the run scores on a split; the intervals are the bootstrap's 95 % over its images."""

    split: str
    images: int
    mean_dice: float
    mean_dice_interval: Interval
    mean_iou: float
    mean_iou_interval: Interval
    foreground_dice: float
    pixel_accuracy: float
    classes: tuple[ClassLine, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """All that a card says, in the order in which it says it."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    classes: tuple[tuple[int, str, str], ...]
    data: tuple[tuple[str, str], ...]
    splits: tuple[tuple[str, int, int], ...]
    scores: tuple[SplitScores, ...]
    unscored: tuple[str, ...]
    check: tuple[tuple[str, str], ...]
    use: tuple[str, ...]
    limits: tuple[str, ...]


def write_card(
    project: Project,
    run: RunRow,
    folder: Path,
    about: dict[str, Any],
    check: Check,
    validated: Sequence[Scored],
    stated: Stated,
    track: Track,
) -> None:
    """Write both forms of the card to a folder.

    Args:
        about: what ``model.json`` says.
        validated: the scores of the validation split.

    Raises:
        DataError: a file cannot be read or written.
    """
    card = card_of(project, run, about, check, validated, stated, track)
    write_atomic(folder / MARKDOWN, markdown(card).encode(), durable=False)
    html = page.render("model_card.html", title=card.title, subtitle=card.subtitle, card=card, how_scored=_HOW_SCORED)
    write_atomic(folder / PAGE, html.encode(), durable=False)


def card_of(
    project: Project,
    run: RunRow,
    about: dict[str, Any],
    check: Check,
    validated: Sequence[Scored],
    stated: Stated,
    track: Track,
) -> Card:
    """What a card says of a run's model."""
    samples = {str(split): project.samples([split]) for split in project.config.data.splits}
    labelled = {split: [one for one in ones if one.mask is not None] for split, ones in samples.items()}
    scored, unscored = _other_splits(project, run, labelled, validated[0].sample.split, track)
    found = (_scores(project, validated), *(_scores(project, ones) for ones in scored))
    classes = project.classes
    return Card(
        title=about["name"],
        subtitle=f"A model for semantic segmentation, {len(classes)} classes: run {run.id} ({run.recipe}) of"
        f" {project.config.project}, exported by annoloop {__version__} to {about['file']}.",
        facts=_facts(run, result_of(project.run_dir(run.id)), about, stated),
        classes=tuple((one.index, one.name, one.color) for one in classes.classes),
        data=_data(project, run, labelled.get(_TRAINED_ON), track),
        splits=tuple((split, len(ones), len(labelled[split])) for split, ones in samples.items()),
        scores=found,
        unscored=unscored,
        check=_check(check, run.id),
        use=_use(about),
        limits=_limits(found[0], about),
    )


def markdown(card: Card) -> str:
    """The card as Markdown."""
    lines = [f"# {_plain(card.title)}", "", _plain(card.subtitle), ""]
    lines += _table(("", ""), card.facts)
    lines += ["## Classes", "", *_table(("index", "class", "colour"), card.classes)]
    lines += ["## Data", "", *_table(("", ""), card.data), *_table(("split", "images", "with a mask"), card.splits)]
    lines += ["## Scores", "", _HOW_SCORED, ""]
    for one in card.scores:
        lines += [f"### {_plain(one.split)}, {one.images} images", ""]
        rows = [
            (kind.name, *_both(kind.dice, kind.dice_interval), *_both(kind.iou, kind.iou_interval))
            for kind in one.classes
        ]
        rows.append(
            ("mean", *_both(one.mean_dice, one.mean_dice_interval), *_both(one.mean_iou, one.mean_iou_interval))
        )
        lines += _table(("class", "Dice", "95 %", "IoU", "95 %"), rows)
        lines += [
            f"Mean Dice of the foreground {_number(one.foreground_dice)}, pixels right {_number(one.pixel_accuracy)}.",
            "",
        ]
    lines += [f"{_plain(note)}\n" for note in card.unscored]
    lines += ["## Check of the export", "", *_table(("", ""), card.check)]
    lines += ["## Use", "", *(f"- {_plain(one)}" for one in card.use), ""]
    lines += ["## Limits", "", *(f"- {_plain(one)}" for one in card.limits), ""]
    return "\n".join(lines)


_HOW_SCORED = (
    "Dice and IoU over all pixels of a split, as mmsegmentation's IoUMetric has them, against the labels at the time of"
    " the export; the intervals are the bootstrap's over images."
)


def _facts(run: RunRow, result: Result | None, about: dict[str, Any], stated: Stated) -> tuple[tuple[str, str], ...]:
    verdict = f"{'promoted' if run.promoted else 'not promoted'}: {run.verdict or 'no verdict'}"
    trained = "not on record"
    if result is not None:
        trained = f"{result.iterations} iterations in {result.seconds:.0f} s on {result.device}"
        if result.best_iteration is not None:
            trained += f"; the weights are those of iteration {result.best_iteration}"
    opset = "" if about["opset"] is None else f", opset {about['opset']}"
    return (
        ("name", stated.name or NOT_STATED),
        ("author", stated.author or NOT_STATED),
        ("license", stated.license or NOT_STATED),
        ("run", f"{run.id}, begun {_at(run.started_at)}, finished {_at(run.finished_at)}"),
        ("recipe", run.recipe),
        ("training", trained),
        ("begun from", "pretrained or random weights" if run.parent_id is None else f"run {run.parent_id}"),
        ("promotion", verdict),
        ("checkpoint, SHA-256", about["checkpoint_sha256"]),
        ("file", f"{about['file']}, {about['format']}{opset}, exported with torch {about['exported_with_torch']}"),
    )


def _at(moment: str | None) -> str:
    """A moment of the ledger without its fractions of a second."""
    return "at a time not on record" if moment is None else f"{moment[:19].replace('T', ' ')} UTC"


def _data(project: Project, run: RunRow, samples: Sequence[Sample] | None, track: Track) -> tuple[tuple[str, str], ...]:
    """What the training data was, in digests; ``samples`` are those with a mask, None where the split is gone."""
    if samples is None:
        return (
            ("class digest", project.classes.digest),
            ("training data", f"no split {_TRAINED_ON} is there any more"),
        )
    digest = content_sha256(project.classes.digest, entries_of(samples, project.scan(samples, track)))
    changed = project.ledger.masks_changed_since(run.started_at)
    since = "no mask was changed by annoloop since the training began"
    if changed:
        since = f"{changed} masks were changed by annoloop since the training began"
    return (
        ("class digest", project.classes.digest),
        (f"digest of {_TRAINED_ON}: image and mask of each sample", digest),
        ("as of", f"the export; {since}"),
    )


def _other_splits(
    project: Project, run: RunRow, labelled: Mapping[str, Sequence[Sample]], validated: str, track: Track
) -> tuple[list[list[Scored]], tuple[str, ...]]:
    """Splits beside those for training that the run was scored on as they are now; a word for those it was not."""
    scored, notes = [], []
    for split, samples in labelled.items():
        if split in (validated, _TRAINED_ON, UNLABELLED) or not samples:
            continue
        rows = project.scan(samples, track)
        if project.ledger.unscored(run.id, rows.keys()):
            notes.append(
                f"{split}: the run is not scored on all of it (annoloop evaluate --run {run.id} --split {split})."
            )
            continue
        known = project.ledger.scores(run.id, rows)
        scored.append([Scored(one, rows[one.id], known[one.id]) for one in samples])
    return scored, tuple(notes)


def _scores(project: Project, scored: Sequence[Scored]) -> SplitScores:
    reached, swing = scores_of(project, total(scored)), intervals(stacked(scored))
    per_class = zip(project.classes.names, reached.dice, swing.dice, reached.iou, swing.iou, strict=True)
    return SplitScores(
        scored[0].sample.split, len(scored), reached.mean_dice, swing.mean_dice, reached.mean_iou, swing.mean_iou,
        reached.foreground_dice, reached.pixel_accuracy, tuple(ClassLine(*one) for one in per_class),
    )  # fmt: skip


def _check(check: Check, run_id: int) -> tuple[tuple[str, str], ...]:
    against = f"run {run_id}"
    if check.in_float32:
        against += f" in float32; it predicts in bfloat16, whose scores are up to {check.rounding or 0:.4f} away"
    return (
        ("outcome", "passed" if check.passed else "not passed"),
        (
            "how",
            f"the script in this folder predicted {check.images} validation images, and was scored on their labels",
        ),
        ("compared with", against),
        ("mean Dice", f"{check.exported_mean_dice:.5f}, the run's {check.mean_dice:.5f}"),
        (
            "largest difference",
            f"{check.largest:.6f} of Dice, of any class or the mean; {check.tolerance:g} is allowed",
        ),
        ("pixels that differ", f"{check.differing_share:.4%}"),
    )


def _use(about: dict[str, Any]) -> tuple[str, ...]:
    script = "python predict.py IMAGE... --out DIR writes a PNG of class indices for each image (see requirements.txt)."
    graph = (
        f"{about['file']} takes RGB images, uint8 (1, 3, H, W) of any size, and gives probabilities float32 (1, K, H,"
        f" W); model.json says the rest: {_resized(about['done_in_the_graph']['resize'])},"
        f" {'the mean with the mirror image' if about['flips'] else 'one look at an image'}, windows for large images."
    )
    return (script, graph, "Meant for images like those that it was trained on: same subject, camera, scale and light.")


def _resized(rule: dict[str, Any] | None) -> str:
    if rule is None:
        return "images keep their size"
    return f"in it images are resized ({', '.join(f'{name} {value}' for name, value in rule.items())})"


def _limits(validated: SplitScores, about: dict[str, Any]) -> tuple[str, ...]:
    names = [one["name"] for one in about["classes"]]
    absent = [one.name for one in validated.classes if math.isnan(one.dice)]
    weak = [f"{one.name} ({one.dice:.2f})" for one in validated.classes if one.dice < _WEAK_DICE]
    said = [
        f"Each pixel gets one of {len(names)} classes ({', '.join(names)}), also where an image shows something else.",
        "The scores are of images like those of the splits above; of others nothing is known.",
        "The labels are people's, and a score against them is no better than they are.",
        f"Of {validated.images} validation images the weights were chosen: scores on them are a little too good.",
    ]
    if weak:
        said.append(f"Weak on the validation split, by Dice: {', '.join(weak)}.")
    if absent:
        said.append(f"Neither labelled nor predicted there, so not measured: {', '.join(absent)}.")
    return tuple(said)


def _both(value: float, interval: Interval) -> tuple[str, str]:
    return _number(value), f"{_number(interval[0])} to {_number(interval[1])}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(_plain(str(cell)) for cell in line)} |" for line in lines), ""]


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else, in one line."""
    escaped = "".join(f"\\{one}" if one in "\\`*_[]<>|" else one for one in text)
    return " ".join(escaped.split())
