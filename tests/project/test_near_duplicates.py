"""Images that are nearly the same: found once, and test images among those trained or chosen on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import ProjectFactory
from PIL import Image, ImageEnhance

from annoloop.errors import DataError
from annoloop.loop.retrain import retrain
from annoloop.loop.training_request import RetrainRequest
from annoloop.project.near_duplicates import looks_of, refuse_test_images
from annoloop.project.project import Project

T = TypeVar("T")


def _check(project: Project) -> None:
    refuse_test_images(project, project.scan(project.samples(["train", "val"])))


def _copy(project: Project, sample_id: str, *, brightness: float = 1.0) -> None:
    """Save the only test image once more as another sample's image."""
    with Image.open(project.image_path("test/0000")) as image:
        target = project.image_path(sample_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageEnhance.Brightness(image).enhance(brightness).save(target)


def _with_pool(project_factory: ProjectFactory, tmp_path: Path) -> Project:
    """A project with an unlabelled copy of the test image in a pool, annoloop.yaml naming that."""
    folder = tmp_path / "pool"
    first = project_factory("pool")
    file = folder / "annoloop.yaml"
    file.write_text(file.read_text().replace("splits: {", "splits: {pool: pool, "))
    (folder / "data" / "ann_dir" / "pool").mkdir()
    image = folder / "data" / "img_dir" / "pool" / "0000.png"
    image.parent.mkdir()
    image.write_bytes(first.image_path("test/0000").read_bytes())
    return Project(file)


def test_a_split_of_its_own_is_no_leak(project: Project) -> None:
    _check(project)


def test_the_same_bytes_are_named_as_the_same(project: Project) -> None:
    project.image_path("val/0001").write_bytes(project.image_path("test/0000").read_bytes())
    with pytest.raises(DataError, match=r"1 images of train, val or pool .* val/0001 = test/0000\n") as caught:
        _check(project)
    assert "--allow-test-images" in str(caught.value.hint)


def test_a_test_image_saved_anew_and_a_little_brighter_is_named_as_nearly_the_same(project: Project) -> None:
    _copy(project, "train/0002", brightness=1.05)
    with pytest.raises(DataError, match=r"1 images .* train/0002 ~ test/0000\n"):
        _check(project)


def test_only_five_pairs_are_listed(project: Project) -> None:
    for number in range(3, 9):
        _copy(project, f"train/{number:04d}")
    with pytest.raises(DataError, match=r"6 images .* train/0007 . test/0000 and 1 more\n"):
        _check(project)


def test_images_of_the_pool_count_once_they_are_labelled(project_factory: ProjectFactory, tmp_path: Path) -> None:
    with _with_pool(project_factory, tmp_path) as project:
        project.mask_path("pool/0000").write_bytes(project.mask_path("test/0000").read_bytes())
        with pytest.raises(DataError, match="pool/0000 = test/0000"):
            retrain(project, RetrainRequest(allow_missing_classes=True, iterations=1))


def test_without_a_test_split_there_is_nothing_to_leak(project_factory: ProjectFactory, tmp_path: Path) -> None:
    copied = project_factory("project")
    _copy(copied, "train/0000")
    file = tmp_path / "project" / "annoloop.yaml"
    file.write_text(file.read_text().replace(", test: test", ""))
    with Project(file) as project:
        assert "test" not in project.config.data.splits
        _check(project)
        assert project.ledger.looks() == {}, "nothing was decoded"


def test_an_image_is_decoded_once_and_again_when_it_changes(project: Project) -> None:
    looked: list[int] = []

    def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
        if title == "comparing images":
            looked.append(total or 0)
        return iter(items)

    samples = project.samples()
    first = looks_of(project, project.scan(samples), track)
    assert first.names == tuple(s.id for s in samples)
    samples[0].image.write_bytes(samples[1].image.read_bytes() + b"\0")  # the same picture, other bytes
    again = looks_of(project, project.scan(samples), track)
    assert looked == [6, 1]
    assert first.partners(first) == {name: name for name in first.names}
    assert again.any_alike(samples[0].id, [samples[1].id])


def test_an_image_that_cannot_be_read_is_like_no_other(project: Project) -> None:
    samples = project.samples()
    broken = samples[4]
    broken.image.write_bytes(broken.image.read_bytes()[:200])
    looks = looks_of(project, project.scan(samples))
    assert broken.id not in looks.names
    assert len(looks.names) == len(samples) - 1
    assert not looks.any_alike(broken.id, [samples[0].id])
    assert not looks.any_alike(samples[0].id, [broken.id])
