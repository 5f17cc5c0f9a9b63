"""The whole loop through the command line, as a new user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from annoloop.cli.demo import demo
from annoloop.errors import ConfigError


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_makes_a_better_model_and_reports_it_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "annoloop", "demo", "--dir", str(tmp_path / "demo"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["test_dice_after"] > report["test_dice_before"]
    assert len(report["rounds"]) == 3
    assert report["background_share"] == pytest.approx(0.91, abs=0.02)
    assert sum(one["damaged_among_pushed"] for one in report["rounds"]) > 15, "the worst images are the wrong ones"
    assert len(list(Path(report["pictures"]).glob("worst-*.png"))) == 4
    assert "mmengine" not in done.stderr, "its chatter belongs into train.log"
    assert "Traceback" not in done.stderr


def test_the_demo_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not delete")
    with pytest.raises(ConfigError, match="not a demo's"):
        demo(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
