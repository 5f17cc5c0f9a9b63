"""A folder answers alike on the local disk and in a store."""

from __future__ import annotations

from pathlib import Path

import pytest
from store import Store

from annoloop.data.folders import Folder, folder, stems
from annoloop.data.storage import RemotePath

NAMES = ("a.png", "a.txt", "sub/b.png", "sub/deep/c.PNG", "sub.png/d.png")


@pytest.fixture(params=["on disk", "in a store"])
def files(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> Folder:
    for name in (f"tree/{name}" for name in NAMES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return folder(tmp_path / "tree" if request.param == "on disk" else store.put(tmp_path / "tree", "tree"))


def test_it_knows_its_files_by_name(files: Folder) -> None:
    assert sorted(files.names()) == sorted(NAMES)
    assert sorted(stems(files, ".png")) == ["a", "sub.png/d", "sub/b"]
    assert files.at("sub/b.png").read_bytes() == b"tree/sub/b.png"
    assert str(files.at("sub/b.png")) == f"{files.path}/sub/b.png"
    assert [files.has(name) for name in ("a.png", "sub", "none.png")] == [True, False, False]


@pytest.mark.parametrize("few", [False, True])
def test_it_finds_files_by_their_stems(files: Folder, few: bool) -> None:
    has_mask = files.finder(".png", few=few)
    assert [has_mask(stem) for stem in ("a", "sub/b", "sub.png/d", "sub/deep/c", "none", "sub")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_folder_in_it_is_a_folder_too(files: Folder) -> None:
    assert sorted(files.below("sub").names()) == ["b.png", "deep/c.PNG"]
    assert files.below("sub").has("b.png")
    assert [files.below(name).exists() for name in ("sub", "sub/deep", "su", "none")] == [True, True, False, False]
    assert list(files.below("none").names()) == []


def test_a_folder_in_a_store_is_listed_once_and_when_it_is_asked(store: Store) -> None:
    nowhere = folder(RemotePath(f"{store.url}/none"))
    assert nowhere.at("a.png") == RemotePath(f"{store.url}/none/a.png")
    assert not nowhere.exists()
    RemotePath(f"{store.url}/none/a.png").put(Path(__file__))
    assert not nowhere.exists()
    assert folder(RemotePath(f"{store.url}/none")).exists()
