"""``annoloop eda``: what the data are like and what is wrong with them, before any training.

Every file is read once, on all cores, and again only when it has changed.  The fact to know: only sums, copies' marks
and what is odd are kept, so memory hardly grows with the number of files; ``data_page.py`` makes the HTML page of the
report.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from annoloop.data.mmseg_folders import UNLABELLED, Sample
from annoloop.data.storage import Location
from annoloop.eda.facts_cache import facts_of
from annoloop.eda.findings import KINDS, Finding, finding, ranked
from annoloop.eda.mask_facts import SAMPLES_PER_CELL
from annoloop.eda.outliers import Copy, Slips, copies, copy_of, missing_classes, odd_slips, said_once, slips_of
from annoloop.eda.planning_facts import planned_sizes
from annoloop.eda.sample_facts import SampleFacts
from annoloop.eda.tally import MOST_MAPPED, Tally, quantile_px, total
from annoloop.errors import ConfigError
from annoloop.masks.classes import ClassTable, LabelClass
from annoloop.masks.regions import Ints
from annoloop.metrics.scores import class_weights
from annoloop.progress import Track, silent
from annoloop.project.project import Project
from annoloop.training.planning import AUTO, BASE, CLASS_WEIGHT_POWER, PlanLine
from annoloop.training.recipe_traits import RecipeTraits, recipe_traits
from annoloop.training.recipes import recipe_path

MOST_OF_A_KIND = 200
"""So many findings of one kind are listed; all are counted."""

MUCH_BACKGROUND = 0.8
FEW_IMAGES = 10
"""A class in fewer training images is learnt by heart rather than in general."""

_SIZES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SizeCount:
    """How many images have a size, in px."""

    height: int
    width: int
    images: int


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split: images, those that can be read, those with a mask that can be read, and their most frequent sizes.

    ``brightness`` and ``contrast`` count images in bins of 8 grey levels (of 256), by mean and by deviation.
    """

    split: str
    images: int
    readable: int
    labelled: int
    sizes: tuple[SizeCount, ...]
    other_sizes: int
    brightness: tuple[int, ...]
    contrast: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One class over all splits that were looked at; ``share`` of the labelled pixels, also split by split.

    ``components`` are connected areas; a tenth of them is smaller than ``p10_px``, half than ``median_px``, a tenth
    larger than ``p90_px`` (NaN without any), to a quarter octave; ``sizes`` counts them by half octave: entry b has
    2^(b/2) to below 2^((b+1)/2) px.  ``heat`` says how often, in % of the masks, each cell of an image is this class;
    top row first.
    ``weight`` is that of cross entropy, as steep as the recipe in use has it.
    """

    name: str
    color: str
    pixels: int
    share: float
    share_by_split: Mapping[str, float]
    images: int
    images_by_split: Mapping[str, int]
    components: int
    p10_px: float
    median_px: float
    p90_px: float
    sizes: tuple[int, ...]
    heat: tuple[tuple[float, ...], ...]
    weight: float


@dataclass(frozen=True, slots=True)
class EdaReport:
    """What the data are like and what is wrong with them.

    ``together[i][j]``: of the images that hold class i the share that holds class j; empty for more classes than are
    mapped, as is ``heat`` of each.  ``findings`` come most serious
    first, at most ``MOST_OF_A_KIND`` of each kind; ``counts`` has all of them by kind.  ``page`` is the HTML page,
    ``weights_said`` tells how the classes' weights come about, ``planned`` the scale and crop of ``recipe: auto`` here.
    """

    project: str
    root: Location
    splits: tuple[SplitFacts, ...]
    classes: tuple[ClassFacts, ...]
    background: str | None
    background_share: float
    ignored_share: float
    together: tuple[tuple[float, ...], ...]
    planned: tuple[PlanLine, ...]
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    page: Path | None = None
    weights_said: str = ""

    @property
    def faults(self) -> int:
        """How many findings are surely wrong."""
        return sum(count for kind, count in self.counts.items() if KINDS[kind].severity == "fault")

    @property
    def remarks(self) -> int:
        """How many are worth a look."""
        return sum(self.counts.values()) - self.faults

    def place(self, one: Finding) -> str:
        """Where a finding is: a file below the data's root without that, anything else as it is."""
        return one.where.removeprefix(f"{self.root}/")


def eda(project: Project, *, splits: Sequence[str] | None = None, track: Track = silent) -> EdaReport:
    """Look at all images and masks of some splits (default: all); finds faults, raises none for a file.

    Raises:
        ConfigError: a split that annoloop.yaml does not name.
        DataError: a split's folder or list is missing.
    """
    listing = project.listing(splits)
    there = [sample for sample in listing.samples if sample.image.is_file()]
    seen = _look_at_all(project, there, track)
    tallies = {split: seen.tallies[split] for split in dict.fromkeys(sample.split for sample in listing.samples)}
    whole = total(tallies.values(), len(project.classes))
    ids = {str(sample.image): sample.id for sample in listing.samples}
    findings = [
        *(finding(one.kind, one.where, one.message, sample_id=ids.get(one.where)) for one in listing.faults),
        *said_once([*seen.findings, *odd_slips(seen.slips, whole, project.classes)], whole),
        *missing_classes(tallies, project.classes),
        *copies(seen.copies),
    ]
    return _report(project, tallies, whole, findings)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What is kept of all samples; filled one by one."""

    tallies: dict[str, Tally]
    findings: list[Finding]
    slips: list[Slips]
    copies: list[Copy]

    def add(self, sample: Sample, facts: SampleFacts) -> None:
        self.tallies[sample.split].add(facts)
        self.findings.extend(facts.findings)
        self.slips.extend(filter(None, [slips_of(sample, facts)]))
        self.copies.extend(filter(None, [copy_of(sample, facts)]))


def _look_at_all(project: Project, samples: Sequence[Sample], track: Track) -> _Seen:
    seen = _Seen(defaultdict(partial(Tally, len(project.classes))), [], [], [])
    for sample, facts in zip(samples, facts_of(project, samples, track), strict=True):
        seen.add(sample, facts)
    return seen


def _report(project: Project, tallies: Mapping[str, Tally], whole: Tally, findings: Sequence[Finding]) -> EdaReport:
    classes = project.classes
    background = classes.background_index
    labelled_px, traits = int(whole.pixels.sum()), _traits(project)
    return EdaReport(
        project=project.config.project,
        root=project.config.data.root,
        splits=tuple(_split_facts(split, tally) for split, tally in tallies.items()),
        classes=_class_facts(classes, tallies, whole, traits.class_weight_power),
        background=None if background is None else classes.names[background],
        background_share=float("nan") if background is None else _share(whole.pixels[background], labelled_px),
        ignored_share=_share(whole.ignored_px, labelled_px + whole.ignored_px),
        together=tuple(tuple(row) for row in whole.together_shares().tolist()),
        planned=planned_sizes(_trained_on(tallies, whole), classes, project.config.train.device),
        warnings=tuple(_warnings(classes, tallies, whole, project.config.train.recipe, traits)),
        findings=tuple(_few_of_a_kind(ranked(findings))),
        counts=dict(Counter(one.kind for one in ranked(findings))),
        weights_said=_weights_said(project.config.train.recipe, traits),
    )


def _few_of_a_kind(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for one in findings:
        seen[one.kind] += 1
        if seen[one.kind] <= MOST_OF_A_KIND:
            yield one


def _split_facts(split: str, tally: Tally) -> SplitFacts:
    frequent = tally.image_sizes_hw.most_common()
    return SplitFacts(
        split=split,
        images=tally.samples,
        readable=tally.readable,
        labelled=tally.labelled,
        sizes=tuple(SizeCount(*size_hw, images) for size_hw, images in frequent[:_SIZES_SHOWN]),
        other_sizes=len(frequent[_SIZES_SHOWN:]),
        brightness=tuple(tally.brightness.tolist()),
        contrast=tuple(tally.contrast.tolist()),
    )


def _class_facts(
    classes: ClassTable, tallies: Mapping[str, Tally], whole: Tally, power: float
) -> tuple[ClassFacts, ...]:
    weights = class_weights(_trained_on(tallies, whole).pixels, power)
    return tuple(_one_class(one, tallies, whole, weights[one.index]) for one in classes.classes)


def _one_class(one: LabelClass, tallies: Mapping[str, Tally], whole: Tally, weight: float) -> ClassFacts:
    index = one.index
    p10, median, p90 = (quantile_px(whole.sizes[index], share) for share in (0.1, 0.5, 0.9))
    return ClassFacts(
        name=one.name,
        color=one.color,
        pixels=int(whole.pixels[index]),
        share=_share(whole.pixels[index], whole.pixels.sum()),
        share_by_split={split: _share(t.pixels[index], t.pixels.sum()) for split, t in tallies.items() if t.labelled},
        images=int(whole.images[index]),
        images_by_split={split: int(t.images[index]) for split, t in tallies.items() if t.labelled},
        components=int(whole.components[index]),
        p10_px=p10,
        median_px=median,
        p90_px=p90,
        sizes=tuple(np.trim_zeros(whole.sizes[index], "b").tolist()),
        heat=_heat(whole.heat[index], whole.labelled) if whole.is_mapped else (),
        weight=weight,
    )


def _heat(points: Ints, masks: int) -> tuple[tuple[float, ...], ...]:
    percent = 100 * points / max(1, masks * SAMPLES_PER_CELL)
    return tuple(tuple(row) for row in percent.round(1).tolist())


def _trained_on(tallies: Mapping[str, Tally], whole: Tally) -> Tally:
    """The sums over what a model would be trained on; over everything where no such split was looked at."""
    some = total((tally for split, tally in tallies.items() if split in ("train", UNLABELLED)), len(whole.pixels))
    return some if some.labelled else whole


def _traits(project: Project) -> RecipeTraits:
    """Of the recipe in use, also one that is planned anew for each training; of one that says nothing for none."""
    recipe = project.config.train.recipe
    if recipe == AUTO:
        return replace(recipe_traits(recipe_path(BASE)), class_weight_power=CLASS_WEIGHT_POWER)
    try:
        return recipe_traits(project.recipe(recipe))
    except ConfigError:
        return RecipeTraits()


def _weights_said(recipe: str, traits: RecipeTraits) -> str:
    """How the suggested class weights come about, and whether the recipe in use has them."""
    how = (
        f"the inverse frequency in the training masks to the power of {traits.class_weight_power:.2g}, held between 0.1"
        " and 10"
    )
    if traits.has_own_weights:
        return f"{recipe} has class weights of its own, which are kept; without them it would be given these: {how}."
    return f"Weights for cross entropy: {how}. A training with {recipe} is given them by itself."


def _against_background(recipe: str, traits: RecipeTraits) -> str:
    """What the recipe in use does about much background."""
    weights = "has class weights of its own" if traits.has_own_weights else "is given class weights"
    if traits.crops_foreground:
        return f"Class weights and crops around foreground help: {recipe} {weights}, and crops around foreground."
    crops = "is not known to crop" if traits.crops_foreground is None else "does not crop"
    return (
        f"Class weights and crops around foreground help: {recipe} {weights}, but {crops} around foreground;"
        " the shipped recipes do, with ForegroundCrop in their pipeline."
    )


def _warnings(
    classes: ClassTable, tallies: Mapping[str, Tally], whole: Tally, recipe: str, traits: RecipeTraits
) -> Iterator[str]:
    """What is not wrong, but has to be known."""
    if not whole.labelled:
        yield "There is no mask that can be read: only images were looked at."
        return
    if not whole.is_mapped:
        yield (
            f"There are {len(classes)} classes: where they lie and which occur together is told of up to {MOST_MAPPED}."
        )
    background = classes.background_index
    share = 0.0 if background is None else _share(whole.pixels[background], whole.pixels.sum())
    if share >= MUCH_BACKGROUND:
        yield (
            f"{100 * share:.0f} % of the pixels are {classes.background}: a model that finds nothing at all has"
            f" {100 * share:.0f} % pixel accuracy, so that says little; judge by Dice per class."
            f" {_against_background(recipe, traits)}"
        )
    trained = _trained_on(tallies, whole)
    for one in classes.classes:
        images = int(trained.images[one.index])
        if 0 < images < min(FEW_IMAGES, trained.labelled):
            yield f"Only {images} of {trained.labelled} training masks hold {one.name}: label more images of it."


def _share(part: int | np.int64, whole: int | np.int64) -> float:
    return float(part / whole) if whole else float("nan")
