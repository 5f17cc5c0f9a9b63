"""The same function for many items on all cores, or on a Ray cluster: nothing shared, results in the items' order.

The facts to know: other processes are given work only where that takes less time than it saves, which the first items
tell; at most a few items per process are under way, so memory stays flat however many there are; and an exception
comes back as it was raised, for the item that it belongs to.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any, Protocol, TypeVar

from annoloop.compute.launch import usable_cores
from annoloop.compute.ray_cluster import RayCluster, connected
from annoloop.errors import AnnoloopError

S = TypeVar("S")
T = TypeVar("T")

_TRIED_S = 0.05
"""So long items are done here before their time is trusted to be typical."""

_START_S = 0.8
"""So long other processes take until they have loaded what they need: only what is left then can be spread."""

_PRELOADED = ("__main__", "annoloop.compute.preload")
"""Loaded once, with the module of what is to be done, by the server that all other processes are forked from."""

_MOST_AT_ONCE = 16
_BATCHES_A_SECOND = 100
"""Handed out at most, since each has its price; what takes long goes out a few at a time, so that all end together."""
_IN_FLIGHT = 4
"""Batches per process that are handed out or wait to be taken."""


_STOPPED = Event()
"""Set in a worker process that is not to begin another item."""

_PROCESSES: ContextVar[int | None] = ContextVar("processes", default=None)
_CLUSTER: ContextVar[RayCluster | None] = ContextVar("cluster", default=None)


class _Begun(Protocol):
    """A batch under way, here or on a cluster."""

    def result(self) -> Any: ...

    def cancel(self) -> object: ...


@contextmanager
def processes(count: int | None) -> Iterator[None]:
    """Inside, work is spread over so many processes; None: one for each usable core, as it is outside."""
    token = _PROCESSES.set(count)
    try:
        yield
    finally:
        _PROCESSES.reset(token)


@contextmanager
def on_ray(address: str, folder: Path | None) -> Iterator[RayCluster]:
    """Inside, work is spread over a Ray cluster; as ``ray_cluster.connected``."""
    with connected(address, folder) as cluster:
        token = _CLUSTER.set(cluster)
        try:
            yield cluster
        finally:
            _CLUSTER.reset(token)


def joined_cluster() -> RayCluster | None:
    """The Ray cluster that work is spread over, if it is."""
    return _CLUSTER.get()


def spread(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    """``function(item)`` for every item, in their order, where ``processes`` or ``on_ray`` says.

    The first items, and all of those that are soon done, are done in this one.  ``function`` and the items are
    pickled, so it is a function of a module, a ``functools.partial`` of one, or a method of what can be pickled.

    Raises:
        AnnoloopError: a process was killed, most often for want of memory, or the cluster is gone; whatever
            ``function`` raises.
    """
    cluster = _CLUSTER.get()
    count = cluster.cores if cluster else _PROCESSES.get() or usable_cores()
    spent_s = 0.0
    for done, item in enumerate(items):
        began = time.perf_counter()
        result = function(item)
        if done:  # the first one's time is mostly that of loading what it needs
            spent_s += time.perf_counter() - began
        yield result
        if _pays(spent_s, done, len(items) - done - 1, count):
            rest, item_s = items[done + 1 :], spent_s / done
            if cluster is None:
                yield from _on_processes(function, rest, count, item_s)
            else:
                yield from _in_order(cluster.submit, function, rest, count, item_s)
            return


def _pays(spent_s: float, done: int, left: int, count: int) -> bool:
    """Whether ``count`` other processes are worth their start, as far as can be told yet."""
    return count > 1 and spent_s > _TRIED_S and spent_s / done * left > _START_S


def _on_processes(function: Callable[[S], T], items: Sequence[S], count: int, item_s: float) -> Iterator[T]:
    with _pool(function, count) as (pool, started):
        done = 0
        while done < len(items) and not started.done():  # this process goes on meanwhile
            yield function(items[done])
            done += 1
        started.result()
        yield from _in_order(pool.submit, function, items[done:], count, item_s)


@contextmanager
def _pool(function: Callable[..., object], count: int) -> Iterator[tuple[ProcessPoolExecutor, Future[None]]]:
    """So many other processes for a function, and when they are ready; none is left at the end."""
    # Not fork: progress bars and databases have threads, whose locks a forked child would inherit for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, _module_of(function)])
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(dict(os.environ),))
    starter = ThreadPoolExecutor(1)  # to start a process blocks
    try:
        yield pool, starter.submit(_start, pool, count)
    except BrokenProcessPool as error:
        raise AnnoloopError(
            "a worker process was killed, most often because memory ran out", hint="--workers 1 needs least"
        ) from error
    except BaseException:
        with _impatient():
            for child in multiprocessing.active_children():
                child.terminate()
            starter.shutdown()
            pool.shutdown(cancel_futures=True)
        raise
    finally:
        starter.shutdown()
        pool.shutdown()


def _module_of(function: Callable[..., object]) -> str:
    return _module_of(function.func) if isinstance(function, partial) else function.__module__


@contextmanager
def _impatient() -> Iterator[None]:
    """Items under way may come to their end inside, unless the user interrupts once more: then they are killed."""
    if current_thread() is not main_thread():  # only there interrupts arrive
        yield
        return
    # A handler that raised would tear the waiting for threads, which Python does not survive in order.
    before = signal.signal(signal.SIGINT, _kill_others)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _kill_others(*_: object) -> None:
    for child in multiprocessing.active_children():
        child.kill()


def _start(pool: ProcessPoolExecutor, count: int) -> None:
    """Start ``count`` processes, and return when one of them is ready for work; in a thread of its own."""
    # The server that they are forked from comes from this thread, and is not interrupted either while it loads.
    resource_tracker.ensure_running()  # which would unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    wait([pool.submit(time.sleep, 0) for _ in range(count)], return_when=FIRST_COMPLETED)


def _in_order(
    submit: Callable[..., _Begun], function: Callable[[S], T], items: Sequence[S], count: int, item_s: float
) -> Iterator[T]:
    size = max(1, min(_MOST_AT_ONCE, len(items) // (4 * count), int(count / (_BATCHES_A_SECOND * item_s))))
    batches = (items[start : start + size] for start in range(0, len(items), size))
    waiting = deque(submit(_batch, function, batch) for batch in islice(batches, _IN_FLIGHT * count))
    try:
        while waiting:
            done: list[T] = waiting.popleft().result()
            waiting.extend(submit(_batch, function, batch) for batch in islice(batches, 1))
            yield from done
    finally:
        for begun in waiting:
            begun.cancel()


def _batch(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    return [function(item) for item in items if not _STOPPED.is_set()]


def _begin(environment: Mapping[str, str]) -> None:
    """Leave interrupts to the parent, and take its environment: the server that forks has that of its own start.

    To terminate such a process lets it finish its item, so that nothing is left half-done.
    """
    gc.freeze()  # what the server loaded stays; to look through it for garbage would copy all its pages
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _STOPPED.set())
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)


def _end_with_parent() -> None:
    """Otherwise a worker of a killed process would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
