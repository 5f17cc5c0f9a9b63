"""The compiled loops: kept on disk between processes, and right beyond the sizes that other tests try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import CodeType

import numpy as np
import numpy.typing as npt
import pytest

from annoloop.masks.kernels import codes, runs
from annoloop.masks.kernels.machine_code import compiled

COUNTED = """
import json
import numpy as np
from annoloop.masks.kernels import codes
codes.transposed_values(np.zeros((2, 3), np.uint8), np.zeros(1, np.uint8))
stats = codes.transposed_values.stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def test_a_loop_is_compiled_once_and_then_read_from_disk(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COUNTED]
    done = [subprocess.run(command, env=environment, capture_output=True, check=True) for _ in range(2)]
    assert [json.loads(child.stdout) for child in done] == [[0, 1], [1, 0]]


def test_a_loop_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    code = compile("def twice(number):\n    return 2 * number\n", "no file", "exec")
    names: dict[str, object] = {}
    assert isinstance(code, CodeType)
    exec(code, names)
    twice = names["twice"]
    assert callable(twice)
    assert compiled(twice)(21) == 42


@pytest.mark.parametrize("along_columns", [False, True])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (97, 301), (64, 64)])
def test_runs_of_noise_tile_the_map(shape: tuple[int, int], along_columns: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 3, shape, np.uint8)
    found = runs.find_runs(noise, np.zeros(256, np.bool_), along_columns)
    values = found[:, runs.VALUE].astype(np.uint8)
    lengths = found[:, runs.END] - found[:, runs.START]
    lines = noise.T if along_columns else noise
    assert np.array_equal(values.repeat(lengths), lines.ravel())
    assert np.array_equal(found[:, runs.LINE].repeat(lengths), np.arange(len(lines)).repeat(lines.shape[1]))
    alike = found[1:, [runs.LINE, runs.VALUE]] == found[:-1, [runs.LINE, runs.VALUE]]
    assert not alike.all(axis=1).any(), "neighbours of one value are one run"


@pytest.mark.parametrize("shape", [(1, 1), (65, 130), (128, 64), (3, 200)])
def test_a_canvas_is_turned(shape: tuple[int, int]) -> None:
    canvas: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    values: npt.NDArray[np.uint8] = np.random.default_rng(1).permutation(256).astype(np.uint8)
    assert np.array_equal(codes.transposed_values(canvas, values), values[canvas.T])
