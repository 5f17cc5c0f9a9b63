"""Measures one way, in the process that ``bench_child.ask`` started; the last line on stdout is the time.

Imports nothing but the standard library: the environment may be the peers', and annoloop's worker processes
import this file again.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_child import Plan


def main() -> None:
    module, way, file = sys.argv[1:]
    raw = json.loads(Path(file).read_text(encoding="utf-8"))
    plan = Plan(**{**raw, "pairs": tuple(map(tuple, raw["pairs"])), "names": tuple(raw["names"])})
    action = getattr(importlib.import_module(module), way)(plan)
    if plan.repeat:
        action()
    taken = [_timed(action) for _ in range(max(1, plan.repeat))]
    print("\n" + json.dumps({"seconds": statistics.median(taken)}))


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
