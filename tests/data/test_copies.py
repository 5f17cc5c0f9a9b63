"""Local copies of what lies in a store: whole, of what changed only, and nowhere but in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from store import Store, contents, gets

from annoloop.data.copies import Copies
from annoloop.data.images import sha256, write_atomic
from annoloop.data.storage import RemotePath
from annoloop.errors import DataError, StoreError

FILES = {"img_dir/a.jpg": b"an image", "ann_dir/a.png": b"a mask", "ann_dir/sub/b.png": b"another"}


@pytest.fixture
def root(store: Store) -> RemotePath:
    root = RemotePath(f"{store.url}/steel")
    for name, data in FILES.items():
        write_atomic(root / name, data)
    return root


def _copied(copies: Copies) -> dict[str, bytes]:
    return {name: data for name, data in contents(copies.folder).items() if not name.endswith(".stamp")}


def test_objects_are_fetched_once_and_again_when_they_changed(
    root: RemotePath, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="werkzeug")
    copies = Copies(root, tmp_path / "fetched")
    got = copies.fetched(list(root.found().values()))
    assert [file.relative_to(copies.folder).as_posix() for file in got] == sorted(FILES)
    assert _copied(copies) == FILES
    gets(caplog)
    assert copies.fetched(list(root.found().values())) == got
    assert copies.file_sha256(root / "img_dir" / "a.jpg") == sha256(b"an image")
    assert gets(caplog) == [], "copies are as good as the objects"
    write_atomic(root / "ann_dir" / "a.png", b"A MASK")
    (copies.folder / "ann_dir" / "sub" / "b.png.stamp").unlink()  # killed before it was written
    (copies.folder / "img_dir" / "a.jpg").unlink()
    gets(caplog)
    copies.fetched(list(root.found().values()))
    assert {name.removeprefix("steel/") for name in gets(caplog)} == set(FILES)
    assert _copied(copies) == {**FILES, "ann_dir/a.png": b"A MASK"}


def test_a_copy_of_another_store_is_not_taken_for_one(root: RemotePath, tmp_path: Path) -> None:
    for folder in ("steel", "brass"):
        place = RemotePath(f"{root.url.rpartition('/')[0]}/{folder}")
        write_atomic(place / "ann_dir" / "a.png", folder.encode())
        copies = Copies(place, tmp_path)
        [file] = copies.fetched([RemotePath(f"{place}/ann_dir/a.png", "5:the same stamp")])
        assert file.read_bytes() == folder.encode()


def test_what_is_local_stays_where_it_is(tmp_path: Path) -> None:
    assert Copies(tmp_path, tmp_path / "fetched").fetched([tmp_path / "a.png"]) == [tmp_path / "a.png"]
    assert not (tmp_path / "fetched").exists()


def test_what_is_not_there_is_named(root: RemotePath, tmp_path: Path) -> None:
    copies = Copies(root, tmp_path)
    with pytest.raises(DataError, match=r"gone\.png: file is missing"):
        copies.fetched([root / "gone.png"])
    with pytest.raises(StoreError, match="no such bucket"):
        copies.fetched([RemotePath("s3://no-such-bucket/a.png")])
    assert contents(tmp_path) == {}
