"""The environment of the peers that cannot live in annoloop's: datumaro wants an older pandas than FiftyOne brings.

Made on demand in ``.venv-datumaro``; a peer that cannot be installed is left out, and its rows say why.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv-datumaro"
PINNED = {
    "datumaro": ("datumaro==1.13.12",),
    "supervision": ("supervision==0.31.2",),
    "torchmetrics": ("torchmetrics==1.9.0", "torch==2.13.0"),
}
"""What each peer needs; everything else follows from it."""


def peers_python(peer: str, say: Callable[[str], None]) -> tuple[str, str | None]:
    """The Python that can import a peer, which is installed if need be, and why it cannot, if it cannot."""
    python = FOLDER / "bin" / "python"
    if not python.is_file():
        say(f"making {FOLDER.name} for the peers")
        made = _run(sys.executable, "-m", "venv", str(FOLDER))
        if made is not None:
            return str(python), f"{FOLDER.name} cannot be made: {made}"
    if _is_there(python, PINNED[peer]):
        return str(python), None
    say(f"installing {peer} into {FOLDER.name}")
    quiet = ("-qq", "--disable-pip-version-check")
    failed = _run(str(python), "-m", "pip", "install", *quiet, *PINNED[peer])
    return str(python), None if failed is None else f"cannot be installed: {failed}"


def _is_there(python: Path, wanted: tuple[str, ...]) -> bool:
    pairs = [tuple(one.split("==")) for one in wanted]
    code = (
        "import sys; from importlib.metadata import version\n"
        f"sys.exit(any(version(name).partition('+')[0] != pinned for name, pinned in {pairs}))"
    )
    return _run(str(python), "-c", code) is None


def _run(*command: str) -> str | None:
    """The last line of what a command complained about; None where it succeeded."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
