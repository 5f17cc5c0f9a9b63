"""What people name is found, and its results get names that say where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from store import Store

from annoloop.data.storage import RemotePath
from annoloop.errors import ConfigError, DataError
from annoloop.loop.prediction.sources import address, sources


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cameras and a clip; that they hold nothing does not matter to names."""
    for name in ("cam1/0.jpg", "cam1/night/1.PNG", "cam2/0.jpg", "cam2/notes.md", "cam2/.hidden.jpg", "drive.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths: str | Path) -> list[str]:
    return sorted(one.name for one in sources([Path(path) for path in paths]).found)


def test_a_folder_is_walked_and_names_are_relative_to_it(there: Path) -> None:
    assert names("cam1") == ["0", "night/1"]
    assert names(there / "cam1") == ["0", "night/1"]


def test_several_are_named_from_the_deepest_folder_that_holds_them(there: Path) -> None:
    assert names("cam1", there / "cam2") == ["cam1/0", "cam1/night/1", "cam2/0"]
    assert names("cam1/0.jpg") == ["0"]
    assert names("cam1/0.jpg", "cam1/night/1.PNG") == ["0", "night/1"]
    assert names("cam1/0.jpg", "drive.mp4") == ["cam1/0", "drive"]


def test_what_is_named_twice_is_there_once(there: Path) -> None:
    assert names("cam1", "cam1/0.jpg", there / "cam1") == ["0", "night/1"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("cam*/*.jpg", ["cam1/0", "cam2/0"]),
        ("**/*.PNG", ["cam1/night/1"]),
        ("cam1/**/*", ["0", "night/1"]),
        ("*.mp4", ["drive"]),
        ("cam[2]/*", ["cam2/0"]),
    ],
)
def test_a_pattern_is_for_us_where_the_shell_left_it(pattern: str, found: list[str]) -> None:
    assert names(pattern) == found


def test_a_name_with_the_signs_of_a_pattern_is_a_name(there: Path) -> None:
    (there / "a[1].jpg").touch()
    assert names("a[1].jpg") == ["a[1]"]


def test_a_list_names_files_relative_to_itself_or_to_the_working_folder(there: Path) -> None:
    listed = there / "cam1" / "list.txt"
    listed.write_text(
        f"\ufeff# a comment\n\n0.jpg\ncam2/0.jpg\n{there / 'drive.mp4'}\nnot/there.jpg\n", encoding="utf-8"
    )
    found = sources([Path("cam1/list.txt")]).found
    assert {one.name for one in found} == {"cam1/0", "cam2/0", "drive", "cam1/not/there"}
    assert {one.is_video for one in found if one.name == "drive"} == {True}


def test_the_same_stem_twice_keeps_its_suffix(there: Path) -> None:
    (there / "cam1" / "0.png").touch()
    assert names("cam1") == ["0.jpg", "0.png", "night/1"]


@pytest.mark.parametrize("other", ["drive/000003.jpg", "drive.avi/1.jpg"])
def test_results_of_two_files_in_one_place_are_refused(there: Path, other: str) -> None:
    place = there / other
    place.parent.mkdir()
    place.touch()
    if other.startswith("drive.avi"):
        assert names("drive.mp4", place) == ["drive", "drive.avi/1"]
    else:
        with pytest.raises(DataError, match="results of the same names"):
            names("drive.mp4", place)


def test_videos_of_a_folder_wait_until_they_are_named(there: Path) -> None:
    (there / "cam1" / "a.mov").touch()
    found = sources([there / "cam1"])
    assert [one.name for one in found.found if one.is_video] == []
    assert "a.mov" in found.notes[0]


def test_all_that_is_not_there_is_said_at_once(there: Path) -> None:
    (there / "empty").mkdir()
    (there / "texts").mkdir()
    (there / "texts" / "a.csv").touch()
    (there / "none.txt").write_text("# nothing\n", encoding="utf-8")
    wrong = ["nothing-here", "empty", "texts", "x*.jpg", "none.txt"]
    with pytest.raises(DataError) as caught:
        names("cam1", *wrong)
    assert all(one in caught.value.message for one in wrong)
    assert "but 1 .csv" in caught.value.message


def test_a_store_is_named_by_its_urls(there: Path, store: Store) -> None:
    root = store.put(there, "photos")
    assert [one.name for one in sources([root / "cam1"]).found] == ["0", "night/1"]
    assert [one.name for one in sources([root / "cam2/0.jpg"]).found] == ["0"]
    assert [one.name for one in sources([root / "cam1", root / "cam2"]).found] == ["cam1/0", "cam1/night/1", "cam2/0"]
    assert [one.name for one in sources([RemotePath(f"{root}/*/0.jpg")]).found] == ["cam1/0", "cam2/0"]
    with pytest.raises(DataError, match="holds no image"):
        sources([root / "cam9"])
    with pytest.raises(DataError, match="no such object"):
        sources([root / "cam1/9.jpg"])


def test_a_list_may_name_urls_but_no_secrets(there: Path, store: Store) -> None:
    root = store.put(there, "photos")
    (there / "urls.txt").write_text(f"{root}/cam1/0.jpg\n{root}/cam2/0.jpg\n", encoding="utf-8")
    assert names("urls.txt") == ["cam1/0", "cam2/0"]
    (there / "secret.txt").write_text("https://a.example/0.jpg?sig=abc\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="credentials"):
        names("secret.txt")


def test_an_address_is_the_same_however_it_was_written(there: Path) -> None:
    assert address(Path("cam1/../cam1/./0.jpg")) == address(there / "cam1" / "0.jpg")
