"""Images as people have them: turned by EXIF, 16-bit, TIFF, odd names, huge and tiny; there and back unchanged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from running_loop import Loop, add_model, mask_bytes, opened

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import connect
from annoloop.data.config import CvatConfig, load, render
from annoloop.data.images import IndexImage, encode_index_png
from annoloop.errors import CvatError, DataError
from annoloop.loop.pull import pull
from annoloop.loop.push import PushReport, push
from annoloop.loop.setup.start import init
from annoloop.selection.request import PushRequest

Mask = npt.NDArray[np.uint8]

NAMES = ("a.png", "sub/a.png", "with space.png", "ünïcode 图像.png", "dots.in.name.png", "UPPER (1) [x] #%.png")


def noise(h: int, w: int, seed: int = 0) -> Mask:
    return np.random.default_rng(seed).choice([0, 1, 2, 255], (h, w), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)


def there_and_back(
    folder: Path, server: Server, files: dict[str, tuple[Callable[[Path], None], Mask]], **details: object
) -> PushReport:
    """Push images with their labels, touch nothing, pull: every mask must keep its bytes."""
    for name, (save, mask) in files.items():
        image, label = folder / "data/img_dir/train" / name, folder / "data/ann_dir/train" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        label.parent.mkdir(parents=True, exist_ok=True)
        save(image)
        label.with_suffix(".png").write_bytes(encode_index_png(IndexImage(mask)))
    file = init(folder / "data", folder, classes=["background", "cat", "dog"]).file
    settings = load(file).model_copy(update={"cvat": CvatConfig(url=server.url), "project": f"odd-{uuid4().hex[:8]}"})
    file.write_text(render(settings), encoding="utf-8")
    with opened(folder, server) as (project, cvat):
        add_model(project, folder / "data/ann_dir", mistakes=0)
        before = mask_bytes(project)
        request = PushRequest(worst=len(files), source="label", **details)  # type: ignore[arg-type]
        report = push(project, cvat, request)
        loop = Loop(folder, folder, server, project, cvat)
        loop.complete(report.task)
        (pulled,) = pull(project, cvat)
        assert (pulled.edited_px, len(pulled.accepted), pulled.written) == (0, len(files), ())
        assert mask_bytes(project) == before
    return report


def picture(h: int, w: int, mode: str = "RGB", **options: object) -> Callable[[Path], None]:
    values = np.random.default_rng(1).integers(0, 255, (h, w, 3) if mode == "RGB" else (h, w))
    image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    return lambda path: image.save(path, **options)  # type: ignore[arg-type]


def test_names_keep_folders_spaces_and_letters_of_any_alphabet(tmp_path: Path, sandbox: Server) -> None:
    files = {name: (picture(20 + n, 30), noise(20 + n, 30, n)) for n, name in enumerate(NAMES)}
    report = there_and_back(tmp_path, sandbox, files)
    assert {f"{frame.sample_id}.png" for frame in report.frames} == {f"train/{name}" for name in NAMES}


def test_an_image_that_exif_turns_has_a_mask_of_its_upright_size(tmp_path: Path, sandbox: Server) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    there_and_back(tmp_path, sandbox, {"turned.jpg": (picture(24, 40, exif=exif), noise(40, 24))})


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("deep.png", picture(30, 41, "I;16")),
        ("grey.png", picture(30, 41, "L")),
        ("deep.tif", picture(30, 41, "I;16")),
        ("colour.tif", picture(30, 41, compression="tiff_lzw")),
        ("colour.bmp", picture(30, 41)),
        ("colour.webp", picture(30, 41, lossless=True)),
    ],
)
def test_kinds_of_image_files(tmp_path: Path, sandbox: Server, name: str, save: Callable[[Path], None]) -> None:
    there_and_back(tmp_path, sandbox, {name: (save, noise(30, 41))})


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 3000), (2500, 2)])
def test_tiny_and_thin_images(tmp_path: Path, sandbox: Server, h: int, w: int) -> None:
    there_and_back(tmp_path, sandbox, {"odd.png": (picture(h, w), noise(h, w))})


def test_an_image_of_8192_x_8192_px(tmp_path: Path, sandbox: Server) -> None:
    mask = np.zeros((8192, 8192), np.uint8)
    mask[100:8000, 4000:4200] = 1
    mask[5000:5500, 100:8100] = 2
    mask[8191, 8191] = 255
    flat = Image.new("RGB", (8192, 8192), (90, 120, 60))
    there_and_back(tmp_path, sandbox, {"huge.jpg": (lambda path: flat.save(path, quality=50), mask)})


def test_a_mask_of_another_size_than_its_image_is_an_error_that_names_both(tmp_path: Path, sandbox: Server) -> None:
    with pytest.raises(DataError, match="mask is 41 x 30 px, its image 40 x 30"):
        there_and_back(tmp_path, sandbox, {"a.png": (picture(30, 40), noise(30, 41))})


def test_a_name_that_cvat_would_take_for_context_is_refused_before_anything_is_sent(
    tmp_path: Path, sandbox: Server
) -> None:
    with pytest.raises(DataError, match="cannot take images of these names"):
        there_and_back(tmp_path, sandbox, {"related_images/a.png": (picture(9, 9), noise(9, 9))})


def test_an_image_that_the_server_cannot_read_is_an_error_with_its_words(tmp_path: Path, sandbox: Server) -> None:
    def save(path: Path) -> None:
        picture(30, 40)(path)
        path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises((CvatError, DataError)) as caught:
        there_and_back(tmp_path, sandbox, {"cut.png": (save, noise(30, 40))}, context=False)
    assert "cut.png" in str(caught.value)


def test_a_file_that_only_the_server_finds_broken_leaves_no_task_behind(tmp_path: Path, sandbox: Server) -> None:
    def save(path: Path) -> None:
        picture(300, 400)(path)
        path.write_bytes(path.read_bytes()[:-9000])  # its header is whole, and nothing more is looked at here

    with pytest.raises(CvatError, match=r"could not finish.*cut\.jpg"):
        there_and_back(tmp_path, sandbox, {"cut.jpg": (save, noise(300, 400))}, context=False)
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as cvat:
        name = load(tmp_path / "annoloop.yaml").project
        (project,) = cvat.session.listed("projects", name=name)
        assert cvat.session.listed("tasks", project_id=project["id"]) == []


def test_an_upload_needs_the_same_memory_however_many_images(sandbox: Server, tmp_path: Path) -> None:
    pictures = []
    for number in range(12):  # 120 MB
        path = tmp_path / f"{number}.bmp"
        path.write_bytes(b"BM" + bytes([number]) * 10_000_000)
        pictures.append((path.name, path))
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as cvat:
        task = int(cvat.session.call("POST", "tasks", {"name": "large", "labels": [{"name": "x"}]})["id"])
        steps: list[str] = []

        def track(items, title, total=None):  # type: ignore[no-untyped-def]
            steps.append(f"{title}: {total}")
            return iter(items)

        tracemalloc.start()
        try:
            with pytest.raises(CvatError, match="could not finish"):  # they are no images
                cvat.upload_images(task, pictures, size_bytes=120_000_000, scratch=tmp_path, track=track)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            cvat.delete_task(task)
    assert peak < 40_000_000
    assert "uploading images.zip (MiB): 115" in steps


def test_no_room_for_the_upload_is_said_before_anything_is_sent(sandbox: Server, tmp_path: Path) -> None:
    with (
        connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as cvat,
        pytest.raises(DataError, match=r"the upload needs \d+ MiB on disk") as caught,
    ):
        cvat.upload_images(1, [], size_bytes=1 << 60, scratch=tmp_path)
    assert "push fewer images" in str(caught.value.hint)
