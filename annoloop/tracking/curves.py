"""What a tracker is told of an event of a training; pure.

Not here: sending it (``delivery.py``).  The fact to know: names are the same for every tracker, made of what all of
them take; class names that differ only in other characters get their index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annoloop.tracking.tracker import Call, Params, Point, Points
from annoloop.training.records import Event

_LONGEST_NAME = 100
_STARTED = ("device", "precision", "processes", "batch_size", "parameters")


def metric_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as parts of metrics' names: of letters, digits, blanks and ``_ - .`` only, all different.

    >>> metric_names(["background", "a/b", "a:b", ".."])
    ('background', 'a_b', 'a_b-2', 'class-3')
    """
    found: list[str] = []
    for index, name in enumerate(classes):
        plain = re.sub(r"[^\w\-. ]", "_", name)[:_LONGEST_NAME].strip()
        plain = plain if plain.strip(".") else f"class-{index}"
        found.append(f"{plain}-{index}" if plain in found else plain)
    return tuple(found)


def calls_of(event: Event, names: Sequence[str]) -> list[Call]:
    """What an event of a training says for a tracker; ``names`` as ``metric_names`` gives them.

    The last candidates of a training are judged on other images than the validations before, so that their scores are
    no points of these curves.
    """
    fields = event.fields
    if event.kind == "started" and "iterations" in fields:
        return [Params(_text({key: fields[key] for key in _STARTED if key in fields} | _versions(fields)))]
    if event.kind == "iteration":
        return _points("training", fields["iteration"], (("loss", fields["loss"]), ("lr", fields.get("lr"))))
    if event.kind == "validation" and not fields.get("settled"):
        scores = [("val/mDice", fields["mdice"]), ("val/mIoU", fields["miou"])]
        scores += [(f"val/Dice/{name}", one) for name, one in zip(names, fields["dice_per_class"], strict=True)]
        return _points("validation", fields["iteration"], scores)
    return []


def final_points(
    step: int, means: Mapping[str, float], dice: Sequence[float], iou: Sequence[float], names: Sequence[str]
) -> list[Call]:
    """The scores that a model is judged by, of the whole validation split; NaN stands for a class that is absent."""
    values = [(f"final/{name}", value) for name, value in means.items()]
    for kind, of_classes in (("Dice", dice), ("IoU", iou)):
        values += [(f"final/{kind}/{name}", value) for name, value in zip(names, of_classes, strict=True)]
    return _points("final", step, values)


def _points(series: str, step: int, values: Iterable[tuple[str, float | None]]) -> list[Call]:
    points = tuple(Point(name, step, value) for name, value in values if value is not None and math.isfinite(value))
    return [Points(series, step, points)] if points else []


def _versions(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"version.{package}": version for package, version in fields.get("versions", {}).items()}


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}
