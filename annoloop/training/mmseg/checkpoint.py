"""Checkpoints of the child process: best.pth (weights) and last.pth (all that a resume needs).

Both hold plain types only, are read with ``weights_only=True`` and are replaced whole or not at all.
mmengine's own checkpoints can start a run too: their few pickled objects load as inert stand-ins.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from annoloop.data.durable import flush_file, flush_folder
from annoloop.errors import TrainingError, some_of

_SHOWN_KEYS = 3


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes ``path``'s place when the block ends well.

    Args:
        durable: False for one of many, which are flushed to disk together at the end.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        if durable:
            flush_file(beside)
        beside.replace(path)
        if durable:
            flush_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint of tensors and plain types; a reader sees the old file or the new one.

    Raises:
        TrainingError: the disk is full.
    """
    try:
        with replacing(path) as beside:
            torch.save(dict(content), beside)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError for a full disk
        raise TrainingError(
            f"cannot be saved ({_mib(shutil.disk_usage(path.parent).free)} free): {str(error).splitlines()[0]}",
            where=path,
            hint="make room; the same command goes on from the last checkpoint",
        ) from error


def check_room(folder: Path, model: torch.nn.Module, images: Iterable[Path]) -> None:
    """Better before hours of training than after them: room for checkpoints and for predictions of ``images``.

    Raises:
        TrainingError: the disk has too little.
    """
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    # best.pth holds the weights, last.pth Adam's two moments too, and each is written beside the old one.
    needed = 2 * weights + 2 * 3 * weights + sum(image.stat().st_size for image in images)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"this training needs {_mib(needed)} of disk, {_mib(free)} are free",
            where=folder,
            hint="make room: predictions and last.pth of old runs in .annoloop can go",
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU without running anything that is pickled in it.

    Raises:
        TrainingError: no such file, not a checkpoint, or objects beyond tensors and plain types.
    """
    try:
        with torch.serialization.safe_globals(_stand_ins()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError("there is no such checkpoint", where=path) from error
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise TrainingError(
            f"not a checkpoint that can be loaded safely: {str(error).splitlines()[0]}",
            where=path,
            hint="only tensors and plain types are read; save its state_dict alone and use that file",
        ) from error
    return content if isinstance(content, dict) else {"state_dict": content}


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put the weights of a checkpoint (ours, mmengine's or a bare state_dict) into ``model``.

    Raises:
        TrainingError: they are those of another architecture or of another number of classes.
    """
    content = load(path)
    weights: Mapping[str, Any] = content.get("state_dict", content)
    _check_fit(model.state_dict(), weights, path)
    model.load_state_dict(weights)


def random_state() -> dict[str, Any]:
    """The state of every random generator that training draws from, as plain types."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """The inverse of ``random_state``; CUDA generators only where there are as many as there were."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


class _Inert:
    """Takes the place of a pickled object of which nothing is wanted."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _stand_ins() -> list[Any]:
    # mmengine stores its log history in every checkpoint: HistoryBuffers (which pickle getattr) of
    # numpy scalars. Allowing the real getattr would undo what weights_only is for.
    names = [
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.ndarray",
        "numpy.dtype",
    ]
    return [(_Inert, name) for name in names]


def _check_fit(own: Mapping[str, Any], theirs: Mapping[str, Any], path: Path) -> None:
    missing, extra = sorted(own.keys() - theirs.keys()), sorted(theirs.keys() - own.keys())
    if missing or extra:
        raise TrainingError(
            f"the checkpoint is of another architecture: {len(missing)} weights missing"
            f" ({_some(missing)}), {len(extra)} not wanted ({_some(extra)})",
            where=path,
            hint="use the recipe that it was trained with, or start from scratch",
        )
    different = [key for key in own if own[key].shape != theirs[key].shape]
    if different:
        key = different[0]
        raise TrainingError(
            f"{_some(different)}: the checkpoint has shape {tuple(theirs[key].shape)},"
            f" this job needs {tuple(own[key].shape)}",
            where=path,
            hint="were the classes changed? start from scratch, or use a checkpoint of these classes",
        )


def _some(names: list[str]) -> str:
    return some_of(names, _SHOWN_KEYS) or "none"
