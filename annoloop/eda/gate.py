"""What has to be true of data before a model is trained on them, and of a model before it may be promoted.

Counts in, errors and names out; knows no files.  The fact to know: a class without a pixel in training is one that no
model can learn, and a mean over the background alone is 1 for a model that finds nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError, some_of
from annoloop.masks.classes import ClassTable

ALLOW = "--allow-missing-classes"
_MOST_NAMES = 10

Counts = npt.NDArray[np.int64]


def missing_classes(pixels: npt.ArrayLike, classes: ClassTable) -> tuple[str, ...]:
    """The classes of which there is no pixel.

    Args:
        pixels: how many there are of each class, (K,), or of each mask and class, (N, K).
    """
    total = np.asarray(pixels, np.int64).reshape(-1, len(classes)).sum(axis=0)
    return tuple(one.name for one in classes.classes if total[one.index] == 0)


def is_one_class_alone(pixels: npt.ArrayLike, classes: ClassTable) -> bool:
    """Whether all pixels are background or, where no class is, of one class: then a mean over classes says nothing."""
    total = np.asarray(pixels, np.int64).reshape(-1, len(classes)).sum(axis=0)
    held = np.flatnonzero(total).tolist()
    alone = held[:1] if classes.background_index is None else [classes.background_index]
    return len(classes) > 1 and held in ([], alone)


def check_training_pixels(
    train: npt.ArrayLike, val: npt.ArrayLike, classes: ClassTable, *, where: object, allow_missing: bool = False
) -> tuple[str, ...]:
    """Refuse masks of which a model cannot learn every class, or by which it cannot be judged.

    Args:
        train: pixels of each class (K,), or of each mask and class (N, K), in training.
        val: the same of what the model is judged by.
        where: the data, for the error.
        allow_missing: say it only.

    Returns:
        what is wrong all the same, in words.

    Raises:
        DataError: a class without a training pixel, or nothing but background to judge by; both at once.
    """
    found = []
    missing = missing_classes(train, classes)
    if missing:
        found.append(f"no training mask holds a pixel of {some_of(missing, _MOST_NAMES)}: no model can learn it")
    if is_one_class_alone(val, classes):
        only = "one" if classes.background_index is None else str(classes.background)
        found.append(f"no mask of val holds a class but {only}: a mean over that alone says nothing of the others")
    if found and not allow_missing:
        hint = f"annoloop eda shows what the masks hold; {ALLOW} trains all the same"
        raise DataError("; ".join(found), where=where, hint=hint)
    return tuple(found)


def never_predicted(confusion: Counts, classes: ClassTable) -> tuple[str, ...]:
    """The classes that a model predicts nowhere, although the truth holds them; rows (K, K) are truth."""
    predicted, true = confusion.sum(axis=0), confusion.sum(axis=1)
    return tuple(one.name for one in classes.classes if true[one.index] and not predicted[one.index])
