"""Where data lie: a path on the local disk, or the URL of an object store that is reached through fsspec.

The only module that knows fsspec.  Not here: what the files hold, and the project's own files, which are always
local.  The fact to know: a ``RemotePath`` is a text and holds nothing open, so every process opens a connection of
its own, with the credentials that the store's own library finds, never with ours (law 9).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from annoloop.errors import AnnoloopError, ConfigError, MissingExtraError, StoreError

S = TypeVar("S")
T = TypeVar("T")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"[?&][^=&]*(sig|token|secret|key|password|credential)[^=&]*=", re.IGNORECASE)

_LOCAL = ("file", "local")
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory")
"""Where an object is replaced whole or not at all; on other stores a file could be left half-written."""

_AT_ONCE = 32
_OPTIONS_OF_S3 = {
    # One request reads an object; else s3fs asks for its size first, and may put together parts of two versions.
    "max_concurrency": 1,
    "use_listings_cache": False,
    "config_kwargs": {"max_pool_connections": _AT_ONCE},
}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {"s3": _OPTIONS_OF_S3, "s3a": _OPTIONS_OF_S3}

_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "updated", "mtime", "created")
"""What stores say of an object that changes with it, the surest first."""

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """A file or folder in an object store; what is read of pathlib here has its names and means the same.

    ``seen``: what the listing it comes from said of it, a stamp that changes with the object; None: not asked yet.
    """

    url: str
    seen: str | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | PurePosixPath) -> RemotePath:
        below = PurePosixPath(name).as_posix().lstrip("/")
        return self if below == "." else RemotePath(f"{self.url.rstrip('/')}/{below}")

    @property
    def protocol(self) -> str:
        """The part of the URL before ``://``."""
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rpartition("/")[2]

    def read_bytes(self, first: int | None = None) -> bytes:
        """The whole object, or so many of its ``first`` bytes.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store refuses, or cannot be reached.
        """
        limits = {} if first is None else {"start": 0, "end": first}
        with _talking_of(self):
            content: bytes = self._store().cat_file(self._key(), **limits)
            return content

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text; as ``read_bytes``."""
        return self.read_bytes().decode(encoding)

    def put(self, local: Path) -> None:
        """Make the object a copy of a local file, at once: it is never half there.

        Raises:
            StoreError: the store refuses, cannot be reached, or has no writing at once.
        """
        if self.protocol not in _ATOMIC:
            raise StoreError(
                f"{self.protocol}:// is read, not written: a file there could be left half-written",
                where=self,
                hint=f"written are {', '.join(_ATOMIC[:-1])}, and the local disk",
            )
        with _talking_of(self):
            self._store().put_file(str(local), self._key())

    def get(self, local: Path) -> None:
        """Make a local file a copy of the object, which may be larger than memory.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store refuses, or cannot be reached.
        """
        with _talking_of(self):
            self._store().get_file(self._key(), str(local))

    def unlink(self) -> None:
        """Remove the object.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store refuses, or cannot be reached.
        """
        self._ask()  # S3 says nothing of an object that was not there
        with _talking_of(self):
            self._store().rm_file(self._key())

    def is_file(self) -> bool:
        """Whether there is such an object; what comes from a listing is not asked for again."""
        try:
            return bool(self.seen or self._ask())
        except FileNotFoundError:
            return False

    def exists(self) -> bool:
        """The same, asked anew."""
        return RemotePath(self.url).is_file()

    def stamp(self) -> str:
        """Size and version: as long as it stays, the object need not be read again.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store refuses, or cannot be reached.
        """
        return self.seen or self._ask()

    def found(self) -> dict[str, RemotePath]:
        """The objects below, by their names relative to this one: one request for a thousand of them.

        Raises:
            StoreError: no such bucket, the store refuses, or cannot be reached.
        """
        with _talking_of(self):
            store, key = self._store(), self._key()
            store.invalidate_cache()
            try:
                listed: dict[str, Any] = store.find(key, detail=True)
            except FileNotFoundError as error:
                if _is_no_bucket(error):
                    raise
                return {}
        start = len(key.rstrip("/")) + 1
        return {
            name[start:]: RemotePath(f"{self.url.rstrip('/')}/{name[start:]}", _stamp(about))
            for name, about in listed.items()
            if _is_a_path(name[start:])
        }

    def _ask(self) -> str:
        with _talking_of(self):
            store = self._store()
            store.invalidate_cache()
            about = store.info(self._key())
        if about.get("type") != "file":
            raise FileNotFoundError(self.url)
        return _stamp(about)

    def _store(self) -> Any:
        return _store(self.protocol, urlsplit(self.url).netloc, os.getpid())

    def _key(self) -> str:
        key: str = self._store()._strip_protocol(self.url)  # documented by fsspec, for all its underscore
        return key


Location: TypeAlias = Path | RemotePath


def location(text: str | Path | RemotePath) -> Location:
    """A place from how people write it: a path, ``file://`` with one, or the URL of a store.

    Raises:
        ConfigError: there are credentials in it, or no bucket.
    """
    if not isinstance(text, str):
        return text
    found = _URL.match(text)
    if found is None:
        return Path(text)
    if found[1].lower() in _LOCAL:
        return Path(text[found.end() :])
    if urlsplit(text).password is not None or _SECRET.search(text):
        raise ConfigError(
            f"a URL of {found[1]}:// with credentials in it",
            hint="take them out, and change them if others saw them; the store's own library finds them in the"
            " environment or in its own files, such as ~/.aws",
        )
    below = text[found.end() :].strip("/")
    if not below:
        raise ConfigError(f"{text} names no bucket", hint=f"{found[1]}://bucket/folder")
    return RemotePath(f"{found[1].lower()}://{below}")


def each(root: Location, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """As ``map``; side by side where the data lie in a store, and every item waits for it."""
    return side_by_side(function, items) if isinstance(root, RemotePath) else map(function, items)


def side_by_side(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """``function(item)`` for every item, in their order, in threads."""
    waiting_items = iter(items)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="store") as pool:
        waiting: deque[Future[T]] = deque(pool.submit(function, one) for one in islice(waiting_items, 2 * _AT_ONCE))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(function, one) for one in islice(waiting_items, 1))
                yield done
        finally:
            for one in waiting:
                one.cancel()


@lru_cache(maxsize=16)
def _store(protocol: str, netloc: str, _pid: int) -> Any:
    """The connection of one process to a store; fsspec by itself would make one for each thread."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("fsspec", "s3") from error
    try:
        return fsspec.core.url_to_fs(f"{protocol}://{netloc}", **_OPTIONS.get(protocol, {}))[0]
    except ImportError as error:
        if protocol in ("s3", "s3a"):
            raise MissingExtraError("s3fs", "s3") from error
        raise ConfigError(f"{protocol}:// needs a package that is not installed", hint=str(error)) from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        hint = "s3://, gs://, az:// and what else fsspec knows, or a path on the local disk"
        raise ConfigError(f"nobody knows the protocol {protocol}://", hint=hint) from error


def _stamp(about: Mapping[str, Any]) -> str:
    """Of what a store says of an object; where it says nothing that changes with it, never the same twice."""
    mark = next((about[name] for name in _MARKS if about.get(name)), None) or uuid4().hex
    if isinstance(mark, datetime):
        mark = mark.timestamp()  # some give the one in a listing and the other when asked
    return f"{about.get('size')}:{str(mark).strip(chr(34))}"


def _is_a_path(name: str) -> bool:
    """Not of the empty objects that stand for folders, nor of keys that as a path would lead elsewhere."""
    return PurePosixPath(name).as_posix() == name != "." and ".." not in name.split("/")


@contextmanager
def _talking_of(place: RemotePath) -> Iterator[None]:
    """The border post: what the many libraries raise becomes FileNotFoundError, as in pathlib, or an error of ours."""
    try:
        yield
    except AnnoloopError:
        raise
    except FileNotFoundError as error:
        if not _is_no_bucket(error):
            raise
        raise StoreError("no such bucket", where=place, hint="is its name right, and this its region?") from error
    except PermissionError as error:
        raise StoreError(
            f"the store refuses access ({_reason(error)})",
            where=place,
            hint="has the account in use (AWS_PROFILE, ~/.aws, …) the right to list, read and write there?",
        ) from error
    except Exception as error:  # botocore, aiohttp, gcsfs and others: their errors have nothing in common
        raise StoreError(
            f"the store does not answer as it should ({_reason(error)})", where=place, hint=_hint(error)
        ) from error


def _is_no_bucket(error: FileNotFoundError) -> bool:
    """In S3's own words, which MinIO and others repeat."""
    return str(error).startswith("The specified bucket does not exist")


def _hint(error: Exception) -> str:
    if "redentials" in type(error).__name__:
        return "log in as the store's own tools do: environment, ~/.aws, gcloud auth, …"
    return "is the address right, AWS_ENDPOINT_URL for one, and the network up? What is done is kept; run again"


def _reason(error: Exception) -> str:
    """The first line of an error, without what stands before an @ in an address: it may be a password."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"//[^/@\s]*@", "//…@", first)[:_LONGEST_REASON]
