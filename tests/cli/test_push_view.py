"""What push prints of the issues that it pinned: what differs, whatever the classes are called."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from annoloop.cli.main import commands
from annoloop.cli.screen import Screen
from annoloop.loop.push import ProposedRegion, PushedFrame, PushReport
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


def test_of_many_regions_the_heaviest_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    regions = tuple(ProposedRegion(n, f"train/{n}", "background", NAME, 100 - n, 0.9) for n in range(1, 31))
    Screen().show(PushReport("task", 7, "http://x", "proposals", 1, False, None, (), proposals=regions))
    said = capsys.readouterr().out
    assert "30 regions to accept or reject" in said
    assert "train/20 " in said
    assert "train/21 " not in said
    assert "10 more" in said


@pytest.mark.parametrize("option", ["--by=dice", "--source=label", "--shape=mask", "--replicas=2", "--corrected"])
def test_what_says_nothing_about_regions_is_refused(option: str) -> None:
    found = CliRunner().invoke(commands, ["push", "--as", "proposals", "--worst", "5", option])
    assert found.exit_code == 2
    assert f"{option.partition('=')[0]}: about whole images" in found.output
