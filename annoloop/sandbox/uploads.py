"""Files on their way in: multipart requests, and large files in pieces (TUS).

As on CVAT, sending is not idempotent: bytes for a file that has arrived already are appended to it,
and two files of one name in one request break the server. ``media.py`` looks into what arrived.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from annoloop.sandbox.calls import Upload
from annoloop.sandbox.refusals import Refusal, invalid, server_error


def incoming(folder: Path) -> Path:
    """Where the files of a task wait for the end of the upload."""
    path = folder / "incoming"
    path.mkdir(parents=True, exist_ok=True)
    return path


def receive(folder: Path, files: Sequence[Upload]) -> None:
    """Keep the files of one multipart request, by their base names.

    Raises:
        Refusal: 500, two of them have the same name.
    """
    names = [base_name(file.name) for file in files]
    if len(set(names)) != len(names):
        raise server_error()
    for name, file in zip(names, files, strict=True):
        with (incoming(folder) / name).open("ab") as target:
            shutil.copyfileobj(file.file, target)


def base_name(name: str) -> str:
    """The last part of a path that a client sent; folders are only kept inside a zip."""
    return PurePosixPath(name.replace("\\", "/")).name or "unnamed"


@dataclass(frozen=True, slots=True)
class Piecewise:
    """A file that arrives in pieces; what has arrived is what lies on disk."""

    folder: Path
    file_id: str

    @property
    def _path(self) -> Path:
        return self.folder / "partial" / self.file_id

    @property
    def _note(self) -> Path:
        return self._path.with_suffix(".json")

    @property
    def offset(self) -> int:
        """How many bytes are here."""
        return self._path.stat().st_size

    @property
    def length(self) -> int:
        """How many bytes it will have."""
        return int(json.loads(self._note.read_text())["length"])

    def append(self, offset: int, content: IO[bytes]) -> int:
        """Add a piece; the last one moves the file to the incoming ones. Returns the new offset.

        Raises:
            Refusal: 409, the piece does not begin where the file ends; 413, the file gets too long.
        """
        if offset != self.offset:
            raise Refusal(409, {"detail": f"Upload-Offset {offset} is not {self.offset}"})
        if offset + content.seek(0, io.SEEK_END) > self.length:
            raise Refusal(413, {"detail": "the piece goes past Upload-Length"})
        content.seek(0)
        with self._path.open("ab") as target:
            shutil.copyfileobj(content, target)
        end = self.offset
        if end == self.length:
            self._path.replace(incoming(self.folder) / json.loads(self._note.read_text())["name"])
            self._note.unlink()
        return end


def begin(folder: Path, user_id: int, headers: Mapping[str, str]) -> tuple[Piecewise, str]:
    """Announce a file by the headers Upload-Length and Upload-Metadata; returns it and its name."""
    length, name = headers.get("upload-length", ""), _metadata(headers).get("filename")
    if not length.isdecimal() or not name:
        raise invalid("Upload-Length and a filename in Upload-Metadata are required")
    piecewise = Piecewise(folder, f"{user_id}_{uuid.uuid4()}")
    partial = folder / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    (partial / piecewise.file_id).touch()
    note = {"length": int(length), "name": base_name(name)}
    (partial / f"{piecewise.file_id}.json").write_text(json.dumps(note))
    return piecewise, base_name(name)


def resume(folder: Path, file_id: str) -> Piecewise:
    """A file that was announced before.

    Raises:
        Refusal: 404, it never was, or it is complete.
    """
    if file_id != base_name(file_id) or not (folder / "partial" / file_id).is_file():
        raise Refusal(404, {"detail": "Not found."})
    return Piecewise(folder, file_id)


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    pairs = (item.split() for item in headers.get("upload-metadata", "").split(","))
    try:
        return {pair[0]: base64.b64decode(pair[1]).decode() for pair in pairs if len(pair) == 2}
    except (binascii.Error, UnicodeDecodeError):
        raise invalid("Upload-Metadata is not base64") from None
