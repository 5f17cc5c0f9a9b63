"""How many images and masks each split holds, without listing folders that are as they were.

For those who count and need no names.  The fact to know: the mtime of a folder moves when a name in it comes or
goes, so a folder costs one look, however many files are in it; a name that is a link says nothing of its file, and
folders with links are listed every time, as are those in a store.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from annoloop.data.config import DataConfig
from annoloop.data.mmseg_folders import count_samples, sources
from annoloop.data.storage import Location, RemotePath
from annoloop.project.project import Project
from annoloop.project.rows import Census

_SETTLED_S = 2
"""A folder that changed so lately may change again without its mtime: file systems count in steps of up to this."""


def census(project: Project) -> dict[str, Census]:
    """What each split holds now, in the order of annoloop.yaml.

    Raises:
        DataError: a split's folder or list is missing.
    """
    return {str(split): _of_split(project, split) for split in project.config.data.splits}


def _of_split(project: Project, split: str) -> Census:
    data = project.config.data
    key = _key(data, split)
    known = project.ledger.census(key)
    if known is not None and all(_stamp(path) == stamp for path, stamp in known.stamps.items()):
        return known
    stamps = _stamps(sources(data, split))  # before the listing: what changes during it is seen the next time
    found = Census(stamps or {}, *count_samples(data, split))
    if stamps is not None:
        project.ledger.put_census(key, found)
    return found


def _key(data: DataConfig, split: str) -> str:
    """Names the folders, and what is looked for in them."""
    return json.dumps([str(data.root), *astuple(data.place(split))])


def _stamps(paths: Sequence[Location]) -> dict[str, str] | None:
    """The stamps of folders with all below them, and of files; None if they do not tell what is there."""
    if any(isinstance(path, RemotePath) for path in paths):
        return None  # a store has no folders, let alone their mtimes
    found: dict[str, str] = {}
    latest_ns = time.time_ns() - _SETTLED_S * 10**9
    waiting = [str(path) for path in paths]
    while waiting:
        path = waiting.pop()
        stamp = found[path] = _stamp(path)
        if stamp and int(stamp.partition(":")[0]) > latest_ns:
            return None
        below = _folders_in(path)
        if below is None:
            return None
        waiting += below
    return found


def _folders_in(path: str) -> list[str] | None:
    """The folders in a folder, or in a file or in nothing, which have none; None if a name there is a link."""
    if not Path(path).is_dir():
        return []
    found = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return None
                if entry.is_dir():
                    found.append(entry.path)
        return found
    except OSError:  # it may be opened to us later, and its mtime would not tell
        return None


def _stamp(path: str) -> str:
    """Mtime and inode of a file or folder; empty where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return ""
    return f"{stat.st_mtime_ns}:{stat.st_ino}"
