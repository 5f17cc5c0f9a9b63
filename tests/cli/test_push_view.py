"""What push prints of the issues that it pinned: what differs, whatever the classes are called."""

from __future__ import annotations

import numpy as np
import pytest

from annoloop.cli.screen import Screen
from annoloop.loop.push import PushedFrame, PushReport
from annoloop.masks.classes import class_table
from annoloop.masks.regions import Region
from annoloop.metrics.error_regions import Mistake

NAME = 'road/mark: "e", (left)'


@pytest.mark.parametrize(
    ("labelled", "predicted", "said"), [(1, 0, f"6 px missed {NAME}"), (1, 2, f"6 px {NAME} or car")]
)
def test_a_class_name_with_a_colon_is_printed_whole(
    labelled: int, predicted: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = class_table(["background", NAME, "car"], background="background")
    mistake = Mistake(Region(predicted, 0, 0, np.ones((2, 3), bool)), labelled, predicted, 0.9)
    frame = PushedFrame("train/a", 0.5, None, {NAME: 1}, (mistake.message(classes),))
    Screen().show(PushReport("task", 1, "http://x", "label", 1, False, None, (frame,)))
    line = next(line for line in capsys.readouterr().out.splitlines() if "train/a" in line)
    assert line.rstrip().endswith(said)
