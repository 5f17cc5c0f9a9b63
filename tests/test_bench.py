"""The bench's own logic: ratios, goals, noise, what is left out, and the keys of its JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmarks"))

import bench_environment
from bench_child import ChildFailed, Plan, ask
from bench_table import Skipped, Times, compare, in_turns, remark, said, show


def times(way: str, *seconds: float, images: int = 10) -> Times:
    return Times(way, images, seconds)


def test_a_peer_with_fewer_images_is_compared_by_the_image() -> None:
    row = compare("s", times("ours", 1.0, 1.1, 1.2, images=100), times("peer", 0.5, 0.55, 0.6, images=5), goal=5)
    assert (row.ms, row.other_ms) == pytest.approx((11, 110))
    assert row.ratio == pytest.approx(10)
    assert not row.falls_short
    assert (said(row), remark(row)) == ("10.0 x faster", "goal: at least 5")


def test_a_floor_is_told_as_times_as_long() -> None:
    row = compare("s", times("ours", 3.0), times("floor", 1.0), against="floor", goal=2)
    assert row.ratio == pytest.approx(3)
    assert row.falls_short
    assert said(compare("s", times("ours", 3.0), times("peer", 1.0))) == "3.00 x slower"
    assert (said(row), remark(row)) == ("3.00 x as long", "falls short of at most 2")


@pytest.mark.parametrize(("ours", "peer"), [((1.0, 1.6), (1.0,)), ((1.0,), (1.6, 1.0))])
def test_a_row_whose_repetitions_differ_too_much_cannot_tell(ours: tuple[float, ...], peer: tuple[float, ...]) -> None:
    row = compare("s", times("ours", *ours), times("peer", *peer), goal=5)
    assert row.noisy
    assert not row.falls_short
    assert remark(row) == "too noisy to tell"


def test_memory_has_a_goal_of_its_own_that_noise_in_time_does_not_excuse() -> None:
    more, fewer = Times("ours", 10, (1.0, 2.0), peak_mb=400.0), Times("fewer", 1, (0.1,), peak_mb=200.0)
    row = compare("s", more, fewer, against="floor", goal=1.2, memory_goal=1.5)
    assert row.falls_short
    assert remark(row) == "too noisy to tell; memory x 2.00, falls short of at most 1.5"
    assert not compare("s", more, fewer, against="floor", goal=1.2, memory_goal=2).falls_short


def test_repetitions_may_differ_by_half() -> None:
    assert not times("ours", 1.0, 1.5).noisy


def test_a_peer_that_is_not_there_is_said_with_its_reason() -> None:
    row = compare("s", times("ours", 1.0), Skipped("peer", "cannot be installed: no such package"))
    assert row.ratio is None
    assert (said(row), remark(row)) == ("not measured", "cannot be installed: no such package")


def test_an_environment_that_cannot_be_made_is_a_reason_to_leave_peers_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(bench_environment, "FOLDER", tmp_path / "file" / ".venv-datumaro")
    said_so: list[str] = []
    _, missing = bench_environment.peers_python("datumaro", said_so.append)
    assert missing is not None
    assert missing.startswith(".venv-datumaro cannot be made: ")
    assert said_so == ["making .venv-datumaro for the peers"]


def test_ways_take_turns() -> None:
    order: list[str] = []
    found = in_turns({name: (lambda name=name: order.append(name) or name) for name in "ab"}, 2)  # type: ignore[misc, func-returns-value]
    assert order == ["a", "b", "a", "b"]
    assert found == {"a": ["a", "a"], "b": ["b", "b"]}


def test_json_is_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    row = compare("s", times("ours", 1.0), times("peer", 2.0))
    show("title", [row], {"way": said}, as_json=True)
    said_all = json.loads(capsys.readouterr().out)
    assert said_all["title"] == "title"
    (read,) = said_all["rows"]
    assert read == asdict(row)
    assert {"section", "task", "ms", "other", "other_ms", "ratio", "goal", "falls_short", "noisy", "skipped"} <= set(
        read
    )


def test_the_table_heads_rows_that_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [compare(section, times("ours", 1.0), times("peer", 2.0)) for section in ("one", "one", "two")]
    show("title", rows, {"way": lambda row: row.task, "ratio": said}, as_json=False, group=lambda row: row.section)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"]
    assert sum("2.00 x faster" in line for line in lines) == 3


CHILD = """
import time

def slow(plan):
    kept = bytearray(60_000_000)
    time.sleep(0.3)
    return lambda: time.sleep(0.1 if (plan.foreground, plan.repeat) == ((0, 2), 0) else 9)

def wrong(plan):
    raise ValueError("no such mask")
"""


def test_a_child_answers_its_time_and_memory_or_why_it_failed(tmp_path: Path) -> None:
    (tmp_path / "made_way.py").write_text(CHILD)
    plan = Plan("", (("image.png", "mask.png"),), ("a", "ground", "b"), 1, str(tmp_path))
    place = {"PYTHONPATH": str(tmp_path)}
    answer = ask(sys.executable, "made_way", "slow", plan, place)
    assert 0.1 <= answer.seconds < 0.3  # what makes ready is not counted
    assert answer.peak_mb is None or answer.peak_mb > 60
    with pytest.raises(ChildFailed, match="no such mask"):
        ask(sys.executable, "made_way", "wrong", plan, place)
