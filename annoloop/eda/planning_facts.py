"""What a training's plan has to know of the data, from the sums over its samples; and what a plan makes of them here.

Not here: the choices themselves (``training/planning.py``).
"""

from __future__ import annotations

import math

import numpy as np

from annoloop.eda.mask_facts import BINS, CELLS
from annoloop.eda.tally import Tally, quantile_px
from annoloop.masks.classes import ClassTable
from annoloop.training.planning import DataFacts, Length, PlanLine, hardware_here, plan

_BIN_PX = np.exp2((np.arange(BINS) + 0.5) / 2)
"""By which counts of components become pixels: specks are many and weigh nothing in a Dice."""

_SHOWN = ("scale", "crop")


def data_facts(tally: Tally, classes: ClassTable, val_images: int) -> DataFacts | None:
    """The facts of training samples; None where no image, or no mask, could be read."""
    if not tally.labelled or not tally.image_sizes_hw:
        return None
    heat = tally.heat if tally.is_mapped else np.zeros((len(classes), CELLS, CELLS), np.int8)
    upper, whole = heat[:, : CELLS // 2].sum(axis=(1, 2)), heat.sum(axis=(1, 2))
    return DataFacts(
        classes=classes.names,
        background=classes.background_index,
        images=tally.labelled,
        val_images=val_images,
        image_hw=tally.image_sizes_hw.most_common(1)[0][0],
        shares=tuple((tally.pixels / max(1, tally.pixels.sum())).tolist()),
        object_px=tuple(quantile_px(sizes * _BIN_PX, 0.5) for sizes in tally.sizes),
        upper_share=tuple(float(a / b) if b else math.nan for a, b in zip(upper, whole, strict=True)),
    )


def planned_sizes(tally: Tally, classes: ClassTable, device: str) -> tuple[PlanLine, ...]:
    """At which scale, and with which crop, ``recipe: auto`` would train here; nothing where nothing can be read."""
    facts = data_facts(tally, classes, 0)
    if facts is None:
        return ()
    return tuple(line for line in plan(facts, hardware_here(device), Length()).lines if line.what in _SHOWN)
