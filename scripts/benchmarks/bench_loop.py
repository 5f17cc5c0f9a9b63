"""What correcting brings, measured by ``annoloop simulate`` on a data set, or on made data where none is given.

Makes a project of its own below ``.cache/bench-loop``, named after the data, and hands every other argument on; the
same command goes on with a simulation that was cut off.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from annoloop.cli.main import run
from annoloop.data.config import FILE_NAME
from annoloop.simulation.made_data import COLORS, NAMES, make_data

MADE_IMAGES = {"train": 60, "val": 24, "test": 40}


def main() -> int:
    """Returns the exit code of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="data as annoloop init takes it; default: made data")
    options, rest = parser.parse_known_args()
    name = "made" if options.data is None else options.data.resolve().name
    folder = Path(".cache/bench-loop").resolve() / name
    if not (folder / FILE_NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        begin = [str(options.data)] if options.data is not None else _made(folder)
        code = run(["init", *begin, "--project", str(folder)])
        if code:
            return code
    return run(["simulate", "--project", str(folder), *rest])


def _made(folder: Path) -> list[str]:
    made = make_data(folder, MADE_IMAGES, damaged_share=0.0)
    return [str(made.root), "--classes", ",".join(NAMES), "--palette", ",".join(COLORS)]


if __name__ == "__main__":
    sys.exit(main())
