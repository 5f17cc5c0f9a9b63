"""What the commands share: common options, the screen, opening the project and the CVAT session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from annoloop.cli.screen import Screen
    from annoloop.cvat.server import CvatServer
    from annoloop.project.project import Project, Recovered

F = TypeVar("F", bound=Callable[..., Any])


class _Place(click.Path):
    """A path; with ``urls`` also the URL of a file or folder in a store."""

    def __init__(self, *, urls: bool = False, **details: Any) -> None:
        super().__init__(path_type=Path, **details)
        self._urls = urls

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if "://" not in str(value):
            return super().convert(value, parameter, context)
        if not self._urls:
            self.fail(f"{value!r} is a URL; here a path on the local disk is meant", parameter, context)
        from annoloop.data.storage import location

        return location(value)


FOLDER = _Place(file_okay=False)
FILE = _Place(dir_okay=False)
PATH = _Place()
PATH_OR_URL = _Place(urls=True)
FOLDER_OR_URL = _Place(file_okay=False, urls=True)
FILE_OR_URL = _Place(dir_okay=False, urls=True)


_COMMON = (
    click.option("--project", "project_dir", type=FOLDER, help="Project folder; default: found upwards from here."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no hints."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
_COMMON_NAMES = ("project_dir", "as_json", "verbose", "quiet", "debug")


def common_options(command: F) -> F:
    """The options that may stand before the command, too."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def common(command: F) -> F:
    """The options that every command takes; what stood before the command holds as well."""

    @wraps(command)
    def settled(*given: Any, **options: Any) -> Any:
        before = click.get_current_context().find_root().params
        options |= {name: options[name] or before.get(name) for name in _COMMON_NAMES}
        return command(*given, **options)

    return common_options(cast(F, settled))


def on_all_cores(command: F) -> F:
    """The options of commands that spread their work over processes or machines."""

    def limit(context: click.Context, _: click.Parameter, count: int | None) -> None:
        from annoloop.compute.workers import processes

        context.with_resource(processes(count))

    workers = click.option(
        "--workers",
        type=click.IntRange(1),
        callback=limit,
        expose_value=False,
        help="Processes that read and compare files; default: one for each usable core.",
    )
    ray = click.option("--ray", metavar="ADDRESS", help="Work on a Ray cluster: host:port, or auto for the one here.")
    return workers(ray(command))


def open_screen(options: dict[str, Any]) -> Screen:
    """The screen that the common options ask for."""
    from annoloop.cli.screen import Screen

    return Screen(as_json=options["as_json"], quiet=options["quiet"], verbose=options["verbose"])


@contextmanager
def opened_project(options: dict[str, Any], screen: Screen, *, changes: str | None = None) -> Iterator[Project]:
    """Open the project; ``changes`` names a command that needs it for itself."""
    from annoloop.project.project import open_project

    with ExitStack() as stack:
        project = stack.enter_context(open_project(options["project_dir"]))
        screen.detail(f"project {project.path}, classes {project.classes.digest[:12]}")
        if changes is not None:
            stack.enter_context(project.locked(changes))
        if project.recovered is not None:
            _tell_recovered(project.recovered, screen)
        stack.enter_context(on_cluster(options, screen, project.state_dir))
        yield project


def _tell_recovered(recovered: Recovered, screen: Screen) -> None:
    """What opening the project finished, and what it could not, with what to do about that."""
    for sample_id in recovered.written:
        screen.say(f"finished an interrupted write: {sample_id}")
    for sample_id in recovered.removed:
        screen.say(f"finished an interrupted undo: {sample_id} has no mask again")
    for sample_id in recovered.conflicts:
        screen.say(f"[yellow]left as it is, edited since:[/] {sample_id}")
    for fault in recovered.unfinished:
        screen.note(f"not finished, and until it is nothing here can be changed: {fault}")


@contextmanager
def project_or_none(options: dict[str, Any], screen: Screen) -> Iterator[Project | None]:
    """As ``opened_project``; None where there is no project and none was named."""
    from annoloop.data.config import FILE_NAME

    here = Path.cwd().resolve()
    if options["project_dir"] is None and not any((above / FILE_NAME).is_file() for above in (here, *here.parents)):
        yield None
        return
    with opened_project(options, screen) as project:
        yield project


@contextmanager
def on_cluster(options: dict[str, Any], screen: Screen, folder: Path | None) -> Iterator[None]:
    """Inside, work is spread over the Ray cluster that the options name, if any; as ``workers.on_ray``."""
    address = options.get("ray")
    if address is None:
        yield
        return
    from annoloop.compute.workers import on_ray

    with on_ray(address, folder) as cluster:
        machines, gpus = len(cluster.machines), sum(machine.gpus for machine in cluster.machines)
        screen.note(f"on a Ray cluster: {cluster.cores} cores and {gpus} GPUs, machines: {machines}")
        yield


def require_sandbox() -> None:
    """Say what the embedded CVAT lacks before anything is begun.

    Raises:
        MissingExtraError: one of its packages is not installed.
    """
    from annoloop.serving.http_thread import require_server

    require_server("sandbox")


@contextmanager
def open_session(project: Project, screen: Screen) -> Iterator[CvatServer]:
    """A session with the project's CVAT server; its account is tried at once."""
    from annoloop.cvat.server import open_server

    with open_server(project.config.cvat, screen.note) as server:
        about = server.about()
        if about.note:
            screen.say(f"[dim]{about.note}[/]")
        yield server


@contextmanager
def session_or_none(project: Project, screen: Screen) -> Iterator[CvatServer | None]:
    """As ``open_session``, for work that can do without: why there is none is said."""
    from annoloop.errors import AnnoloopError

    with ExitStack() as stack:
        try:
            server = stack.enter_context(open_session(project, screen))
        except AnnoloopError as error:
            screen.note(f"CVAT: {error.message}; what it is to hear it hears with the next pull")
            server = None
        yield server


def example(*lines: str) -> str:
    """An example for the end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def seconds_given(duration: str, option: str) -> float:
    """Seconds of an option that is a duration."""
    from annoloop.data.durations import seconds_of

    try:
        return seconds_of(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def listed(text: str) -> list[str]:
    """The parts of a comma-separated option."""
    return [part.strip() for part in text.split(",") if part.strip()]
