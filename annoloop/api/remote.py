"""Functions that talk to the project's CVAT server, in a session of their own or one that is given.

Not here: how it is done (``loop/``).  The fact to know: killed or failed, the same call finishes what was begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from annoloop.api.arguments import names_of
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import CvatServer, open_server
from annoloop.cvat.shapes import Kind
from annoloop.errors import check_argument
from annoloop.loop import effort as _effort
from annoloop.loop import login as _login
from annoloop.loop import pull as _pull
from annoloop.loop import push as _push
from annoloop.loop import quality as _quality
from annoloop.loop import tasks as _tasks
from annoloop.loop.effort import EffortReport
from annoloop.loop.exchange.pull_report import PullReport
from annoloop.loop.login import LoginReport
from annoloop.loop.pull import OnConflict
from annoloop.loop.push import PushReport
from annoloop.loop.quality import QualityReport
from annoloop.loop.tasks import TasksReport
from annoloop.progress import Say, Track, silent, unsaid
from annoloop.project.project import Project
from annoloop.selection.request import Carries, PushRequest, Source, how_many, push_request
from annoloop.selection.scoring import Watch, unwatched


def login(project: Project, secret: str, *, username: str | None = None, say: Say = unsaid) -> LoginReport:
    """Try an access token on the project's CVAT server and store it in a file of mode 0600; as ``annoloop login``.

    Args:
        secret: the token, or the password of ``username``; ask for it (``getpass``), do not write it down.

    Raises:
        CvatError: the server refuses it or cannot be reached; nothing is stored then.
    """
    credentials = Credentials(token=secret) if username is None else Credentials(username=username, password=secret)
    return _login.login(project.config.cvat, credentials, say=say)


def connect(project: Project, *, say: Say = unsaid) -> CvatServer:
    """A session with the project's CVAT server, for several calls: ``with annoloop.connect(project) as server``.

    Raises:
        ConfigError: there are no credentials.
        CvatError: the server cannot be reached or refuses them.
    """
    return open_server(project.config.cvat, say)


def push(
    project: Project,
    *,
    worst: int | None = None,
    images: Sequence[str] = (),
    splits: Sequence[str] = ("train",),
    by: str = "dice",
    source: Source | None = None,
    carries: Carries = "shapes",
    corrected: bool = False,
    random_share: float | None = None,
    shape: Kind | None = None,
    tolerance_px: float | None = None,
    segment_size: int | None = None,
    assignees: Sequence[str] | None = None,
    context: bool | None = None,
    issues_per_frame: int | None = None,
    again: bool = True,
    replicas: int | None = None,
    tiles: int | None = None,
    overlap: int | None = None,
    all_tiles: bool = False,
    dry_run: bool = False,
    server: CvatServer | None = None,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> PushReport:
    """Send images with masks to CVAT as one task; as ``annoloop push``.  What is None is as annoloop.yaml says.

    Returns the task's number and URL, and its images, worst first.

    Args:
        worst: how many images, worst first ``by`` a criterion; or ``images``: these and no others, like "train/0001".
        source: "label", "prediction", or "both": the label, and beside it what the model would add.
        carries: "shapes", whole images; "proposals" or "disputed": the ``worst`` regions to accept or reject.
        corrected: also images that annotators have corrected already.  random_share: by chance, 0 to 1.
        tolerance_px: how coarse polygons may be.  segment_size: images per job, 0 for one.  replicas: people for each.
        tiles: cut larger images into squares of so many px, which share ``overlap`` px; 0: none.  all_tiles: also those
            that hold nothing to correct.
        again: False: the same push that was done a moment ago is told, not done once more with the next images.
        dry_run: only say what would go; asks no server.
        server: a session that is open already; default: one of this call's own.

    Raises:
        ConfigError: no model yet, no credentials, or an argument that cannot be.
        DataError: nothing left to push, or a mask that cannot be used.
        LedgerError: another annoloop is at work in the project.
        CvatError: the server refused or could not be reached; the same call goes on.
    """
    request = _request(
        project, worst, images, splits=names_of(splits), by=by, source=source, carries=carries, corrected=corrected,
        random_share=random_share, shape=shape, tolerance_px=tolerance_px, segment_size=segment_size,
        assignees=assignees and names_of(assignees), replicas=replicas, context=context,
        issues_per_frame=issues_per_frame, dry_run=dry_run, tiles=tiles, overlap=overlap, all_tiles=all_tiles,
    )  # fmt: skip
    with project.locked("push"), nullcontext() if dry_run else _session(project, server, say) as open_server:
        return _push.push(project, open_server, request, again=again, say=say, track=track, watch=watch)


def _request(project: Project, worst: int | None, images: Sequence[str], **given: Any) -> PushRequest:
    only = names_of(images)
    count = how_many(worst, only, given["carries"])
    check_argument("worst", worst, count is not None, "what is asked for: either worst or images")
    assert count is not None
    return push_request(project.config, count, only=only, **given)


def pull(
    project: Project,
    *,
    task: int | None = None,
    include_unfinished: bool = False,
    accept_untouched: bool = False,
    redo: bool = False,
    on_conflict: OnConflict = "stop",
    annotator: str | None = None,
    server: CvatServer | None = None,
    say: Say = unsaid,
    track: Track = silent,
) -> list[PullReport]:
    """Bring corrected masks of finished jobs back; as ``annoloop pull``.

    Args:
        task: its number in CVAT; default: every open task of the project.
        include_unfinished: also take changed frames of jobs that go on.
        accept_untouched: also take predictions that were pushed over labels and that nobody looked at.
        redo: also take again what an undo took back.
        on_conflict: where a mask was changed here since the push: "stop" before anything is written, keep "mine",
            or take "theirs", CVAT's.
        annotator: whose replica to take of a task pushed with ``replicas``; default: at each pixel what most have.
        server: a session that is open already; default: one of this call's own.

    Returns:
        one report for each task, with pixels per class; none where no task is open.

    Raises:
        ConfigError: the task was not pushed from here, the classes have changed since, or there are no credentials.
        CvatError: labels were changed in CVAT, a shape cannot be read, the task is gone, the server failed.
        DataError: a mask was changed here since the push.
        LedgerError: another annoloop is at work in the project.
    """
    with project.locked("pull"), _session(project, server, say) as open_server:
        return _pull.pull(
            project,
            open_server,
            task=task,
            include_unfinished=include_unfinished,
            accept_untouched=accept_untouched,
            redo=redo,
            on_conflict=on_conflict,
            annotator=annotator,
            say=say,
            track=track,
        )


def tasks(
    project: Project,
    *,
    every: bool = False,
    server: CvatServer | None = None,
    say: Say = unsaid,
    track: Track = silent,
) -> TasksReport:
    """Open tasks in CVAT, and whose job is how far; ``every``: finished ones too; as ``annoloop tasks``.

    Raises:
        ConfigError: there are no credentials.
        CvatError: the server failed.
    """
    with _session(project, server, say) as open_server:
        return _tasks.tasks(project, open_server, every=every, track=track)


def effort(
    project: Project,
    *,
    task: int | None = None,
    server: CvatServer | None = None,
    say: Say = unsaid,
    track: Track = silent,
) -> EffortReport:
    """What correcting costs and brings, and what the next images will take; as ``annoloop effort``.

    Raises:
        ConfigError: no such task, or no credentials.
        CvatError: the server failed.
    """
    with _session(project, server, say) as open_server:
        return _effort.effort(project, open_server, task=task, track=track)


def quality(
    project: Project,
    *,
    task: int | None = None,
    include_unfinished: bool = False,
    truth: str | Path | None = None,
    server: CvatServer | None = None,
    say: Say = unsaid,
    track: Track = silent,
    watch: Watch = unwatched,
) -> QualityReport:
    """How far annotators of the same images agree, and whether more labels can help; as ``annoloop quality``.

    Args:
        truth: folder of masks that are known to be right, laid out as the project's, of some images or all.

    Raises:
        ConfigError: no task with replicas, or no credentials.
        DataError: no image has two masks yet, or a known mask does not fit.
        CvatError: a shape cannot be read, or the server failed.
    """
    known = None if truth is None else Path(truth)
    with project.locked("quality"), _session(project, server, say) as open_server:
        return _quality.quality(
            project,
            open_server,
            task=task,
            include_unfinished=include_unfinished,
            truth=known,
            track=track,
            watch=watch,
        )


@contextmanager
def _session(project: Project, server: CvatServer | None, say: Say) -> Iterator[CvatServer]:
    """The session that is given, or one of our own, whose account is tried at once."""
    if server is not None:
        yield server
        return
    with connect(project, say=say) as own:
        own.about()
        yield own
