"""Weights & Biases: the only module that knows it.

Nothing goes out but what the training tells: no console, code, git, packages or figures of the machine.  The facts to
know: without an API key runs are kept on disk, for ``wandb sync``; and its steps only go up, so the iteration is a
value of its own, which all curves are drawn over.
"""

from __future__ import annotations

import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from annoloop.errors import ConfigError
from annoloop.tracking.tracker import NO_TRACKING, Begun, Point, Status, without_credentials

_PUBLIC = "https://api.wandb.ai"
_REACH_S = 10.0
_WAIT_S = 20.0
_EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}

_SETTINGS = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "init_timeout": _WAIT_S,
    "finish_timeout": _WAIT_S,
    "finish_timeout_raises": False,
}
"""Those that the installed version does not have are left out."""


class WandbTracker:
    """A run of a project of Weights & Biases, online or on disk."""

    name = "wandb"

    def __init__(self, server: str | None, project: str, folder: Path) -> None:
        """See whether there is a key, and whether the server answers.

        Raises:
            ConfigError: there is a key, but nobody who answers.
        """
        self._server = (server or os.environ.get("WANDB_BASE_URL") or _PUBLIC).rstrip("/")
        self._project, self._folder = project, folder
        self._run: Any = None
        self._mode: Any = os.environ.get("WANDB_MODE") or ("online" if _has_key(self._server) else "offline")
        self.place = without_credentials(self._server) if self._mode == "online" else str(folder / "wandb")
        if self._mode == "online":
            self._reach()

    def _reach(self) -> None:
        if not self._server.startswith(("http://", "https://")):
            hint = f"train.track_uri, or WANDB_BASE_URL, names a server; {NO_TRACKING}"
            raise ConfigError("must start with http:// or https://", where=self.place, hint=hint)
        try:
            urllib.request.urlopen(self._server, timeout=_REACH_S).close()  # noqa: S310
        except urllib.error.HTTPError as error:  # an answer, if only to a question that nobody asked
            error.close()
        except (OSError, ValueError) as error:
            hint = f"WANDB_MODE=offline keeps the run on disk; {NO_TRACKING}"
            raise ConfigError(f"Weights & Biases cannot be reached: {error}", where=self.place, hint=hint) from error

    def begin(self, name: str, known_id: str | None) -> Begun:
        """As ``Tracker.begin``."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        wanted = {**_SETTINGS, "base_url": self._server}
        settings = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
        run = self._run = wandb.init(
            id=known_id or uuid4().hex[:12],
            project=self._project,
            name=name,
            resume="allow",
            mode=self._mode,
            dir=str(self._folder),
            settings=wandb.Settings(**settings),
        )
        run.define_metric("iteration")
        run.define_metric("*", step_metric="iteration")
        if self._mode == "online":
            return Begun(run.id, str(run.url))
        files = str(Path(run.dir).parent)
        if self._mode != "offline":
            return Begun(run.id, files)
        why = "WANDB_MODE says so" if os.environ.get("WANDB_MODE") else "no API key; wandb login takes one"
        return Begun(run.id, files, f"wandb sync {quote(files)}", f"on this disk only: {why}")

    def params(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.params``."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, points: Sequence[Point]) -> None:
        """As ``Tracker.scalars``."""
        for step, some in groupby(points, lambda point: point.step):
            self._run.log({"iteration": step, **{point.name: point.value for point in some}})

    def picture(self, name: str, file: Path) -> None:
        """As ``Tracker.picture``."""
        import wandb

        self._run.log({name: wandb.Image(str(file))})

    def texts(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.texts``."""
        self._run.summary.update(dict(values))

    def end(self, status: Status) -> None:
        """As ``Tracker.end``."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=_EXIT_CODES[status])


def _has_key(server: str) -> bool:
    """Whether ``wandb login`` was here, or a key stands in the environment; the key itself is not ours to read."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    files = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path("~/.netrc"), Path("~/_netrc")]
    for file in (one.expanduser() for one in files):
        try:
            if netrc.netrc(str(file)).hosts.get(urlsplit(server).hostname or ""):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
