"""Promotion is earned: what a candidate must do to take the place of the current model."""

from __future__ import annotations

import numpy as np
import pytest

from annoloop.loop.promotion import verdict
from annoloop.masks.classes import ClassTable, LabelClass
from annoloop.metrics.scores import Comparison, Confusion

CLASSES = ClassTable(tuple(LabelClass(i, name, "#102030") for i, name in enumerate(("ground", "pole", "sign"))))

WHOLE = np.diag([900, 60, 40])
BLIND = np.array([[900, 0, 0], [0, 60, 0], [40, 0, 0]])
"""It takes every sign for ground."""


def compared(share_better: float) -> Comparison:
    return Comparison(difference=0.01, low=0.0, high=0.02, share_better=share_better)


def judged(
    candidate: Confusion, current: Confusion | None, share: float = 1.0, *, allow: bool = False
) -> tuple[bool, str]:
    comparison = None if current is None else compared(share)
    return verdict(CLASSES, candidate, current, comparison, allow_missing=allow)


def test_the_first_model_is_promoted() -> None:
    assert judged(WHOLE, None) == (True, "the first model")


def test_a_model_that_never_predicts_a_class_is_promoted_only_if_asked() -> None:
    promoted, said = judged(BLIND, None)
    assert not promoted
    assert said == "it never predicts sign: train longer, or promote it all the same with --allow-missing-classes"
    assert judged(BLIND, None, allow=True) == (True, "the first model")


def test_where_the_current_model_is_as_blind_it_does_not_count() -> None:
    assert judged(BLIND, BLIND)[0]


@pytest.mark.parametrize(("share", "promoted"), [(0.94, False), (0.96, True)])
def test_better_has_to_be_sure(share: float, promoted: bool) -> None:
    assert judged(WHOLE, WHOLE, share)[0] is promoted


def test_no_class_may_collapse() -> None:
    worse = np.array([[900, 0, 0], [0, 60, 0], [20, 0, 20]])
    promoted, said = judged(worse, WHOLE)
    assert not promoted
    assert said.startswith("class sign lost 0.3")
