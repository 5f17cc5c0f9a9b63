"""MLflow: the only module that knows it.

A client of its own for every training; the library's global state, its active run and its telemetry are not used.
The facts to know: a parameter of MLflow never changes, so that one that does becomes a tag; and of its errors those
that may pass are the server's (5xx, 429) and those of the network.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from annoloop.errors import AnnoloopError, ConfigError, MissingPackageError
from annoloop.tracking.tracker import NO_TRACKING, Begun, Point, Status, Unreached, shortened, without_credentials

_SETTLED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What the library reads from the environment, where that says nothing else."""

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000


class MlflowTracker:
    """A run of an experiment of an MLflow server or database."""

    name = "mlflow"

    def __init__(self, uri: str, experiment: str) -> None:
        """Find the experiment, or make it.

        Raises:
            ConfigError: the place cannot be reached, or refuses.
            MissingPackageError: a database that needs more than is installed.
        """
        for name, value in _SETTLED.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not to tell of the tables of a new database
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.place = without_credentials(uri)
        self._uri, self._run_id = uri, ""
        self._known: set[str] = set()
        try:
            self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._experiment = self._made(experiment)
        except ImportError as error:
            hint = f"a database needs all of it (pip install mlflow), and its driver; {NO_TRACKING}"
            raise MissingPackageError(error.name or str(error), hint) from error
        except Exception as error:
            raise self._refused(error, experiment) from error

    def _made(self, name: str) -> str:
        """The id of the experiment."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=_artifacts_of(self._uri)))
            except Exception:  # somebody else was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            hint = f"restore it in MLflow, or name another one as train.track_project; {NO_TRACKING}"
            raise ConfigError(f"the experiment {name!r} was deleted", where=self.place, hint=hint)
        return str(found.experiment_id)

    def _refused(self, error: Exception, experiment: str) -> AnnoloopError:
        if isinstance(error, AnnoloopError):
            return error
        status = _http_status(error)
        if status in (401, 403):
            said = f"MLflow refuses the credentials, or {experiment!r} to them ({status})"
            hint = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN;"
        elif _may_pass(error):
            said, hint = f"MLflow cannot be reached: {_why(error)}", "is it up, and train.track_uri its address?"
        else:
            said, hint = (
                f"MLflow cannot be used: {_why(error)}",
                "is train.track_uri an MLflow server or a database?",
            )
        return ConfigError(said, where=self.place, hint=f"{hint} {NO_TRACKING}")

    def begin(self, name: str, known_id: str | None) -> Begun:
        """As ``Tracker.begin``."""
        with _borders():
            known = None if known_id is None else self._found(known_id)
            if known is None:
                self._run_id = self._client.create_run(
                    self._experiment, run_name=name, tags={"mlflow.source.name": "annoloop retrain"}
                ).info.run_id
            else:
                self._run_id, self._known = known.info.run_id, set(known.data.params)
                self._client.update_run(self._run_id, status="RUNNING")
        if self._uri.startswith(("http://", "https://")):
            return Begun(self._run_id, f"{self.place}/#/experiments/{self._experiment}/runs/{self._run_id}")
        return Begun(self._run_id, self.place, f"mlflow ui --backend-store-uri {quote(self.place)}")

    def _found(self, run_id: str) -> Any:
        try:
            run = self._client.get_run(run_id)
        except Exception as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def params(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.params``."""
        from mlflow.entities import Param, RunTag

        new = [Param(name, value[:_LONGEST_PARAM]) for name, value in values.items() if name not in self._known]
        changed = [RunTag(name, value[:_LONGEST_TAG]) for name, value in values.items() if name in self._known]
        with _borders():
            self._client.log_batch(self._run_id, params=new, tags=changed)
        self._known |= set(values)

    def scalars(self, points: Sequence[Point]) -> None:
        """As ``Tracker.scalars``."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        with _borders():
            metrics = [Metric(point.name, point.value, now_ms, point.step) for point in points]
            self._client.log_batch(self._run_id, metrics=metrics)

    def picture(self, name: str, file: Path) -> None:
        """As ``Tracker.picture``; an artifact in a folder."""
        with _borders():
            self._client.log_artifact(self._run_id, str(file), name.rpartition("/")[0] or None)

    def texts(self, values: Mapping[str, str]) -> None:
        """As ``Tracker.texts``; tags."""
        from mlflow.entities import RunTag

        with _borders():
            tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in values.items()]
            self._client.log_batch(self._run_id, tags=tags)

    def end(self, status: Status) -> None:
        """As ``Tracker.end``."""
        with _borders():
            self._client.set_terminated(self._run_id, _STATUS[status])


def _artifacts_of(uri: str) -> str | None:
    """Where pictures lie: the server decides; those of a database beside its file, and not in the working folder."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlflow-artifacts").as_uri()


@contextmanager
def _borders() -> Iterator[None]:
    """Tell errors that may pass from those that will not."""
    try:
        yield
    except Exception as error:
        if _may_pass(error):
            raise Unreached(_why(error)) from error
        raise


def _why(error: BaseException) -> str:
    """What the system said at the bottom of it, or else what MLflow says, without credentials."""
    one: BaseException | None = error
    found = None
    while one is not None:
        found = one if isinstance(one, OSError) and not one.__cause__ and not one.__context__ else found
        one = one.__cause__ or one.__context__
    return shortened(without_credentials(str(found or error)))


def _http_status(error: Exception) -> int | None:
    status: Callable[[], int] | None = getattr(error, "get_http_status_code", None)
    return None if status is None else status()


def _may_pass(error: Exception) -> bool:
    status = _http_status(error)
    return isinstance(error, OSError) if status is None else status >= 500 or status == 429
