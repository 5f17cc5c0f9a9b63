"""Places on disk and in a store: how they are written, listed, read and replaced, and what errors say (laws 9, 10)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from store import ACCOUNT, Store

from annoloop.data.images import image_size_hw, open_atomic, read_bytes, read_image, remove, write_atomic
from annoloop.data.storage import RemotePath, _reason, location, side_by_side
from annoloop.errors import ConfigError, DataError, MissingExtraError, StoreError, install_command
from annoloop.project.project import Project


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/steel", Path("data/steel")),
        ("/data/s3://odd", Path("/data/s3://odd")),
        ("file:///data/steel", Path("/data/steel")),
        ("s3://bucket/steel/", RemotePath("s3://bucket/steel")),
        ("S3://Bucket/steel", RemotePath("s3://Bucket/steel")),
        ("abfs://container@account.dfs.core.windows.net/x", RemotePath("abfs://container@account.dfs.core.windows.net/x")),
        ("s3://bucket/a?b#c", RemotePath("s3://bucket/a?b#c")),
    ],
)  # fmt: skip
def test_a_place_is_what_was_written(text: str, expected: Path | RemotePath) -> None:
    assert location(text) == expected
    assert location(expected) == expected


@pytest.mark.parametrize(
    "text", ["s3://me:hidden@bucket/x", "az://c/x?sv=1&sig=hidden", "gs://b/x?access_token=hidden"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="with credentials in it") as caught:
        location(text)
    assert "hidden" not in str(caught.value)


def test_a_store_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match="s3:// names no bucket"):
        location("s3://")


def test_places_are_joined_like_paths() -> None:
    root = RemotePath("s3://bucket/steel")
    assert root / "img_dir" / "" / "." / "a b/c#d.png" == RemotePath("s3://bucket/steel/img_dir/a b/c#d.png")
    assert (root / "x").name == "x"
    assert (root.protocol, str(root)) == ("s3", "s3://bucket/steel")
    with pytest.raises(TypeError):
        open(root)  # type: ignore[call-overload]  # noqa: PTH123, SIM115 - nothing local is made by mistake


def test_a_listing_has_names_and_stamps_that_change_with_the_object(store: Store) -> None:
    root = RemotePath(f"{store.url}/steel")
    for name in ("a.png", "sub/é #1.png", "sub/", "../out.png", "sub//twice.png"):
        fsspec.filesystem("s3").pipe_file(f"{store.url}/steel/{name}", b"one")
    write_atomic(RemotePath(f"{store.url}/steel-2/b.png"), b"two")
    found = root.found()
    assert list(found) == ["a.png", "sub/é #1.png"]
    assert [file.read_bytes() for file in found.values()] == [b"one", b"one"]
    assert all(file.stamp() == RemotePath(file.url).stamp() for file in found.values())
    write_atomic(root / "a.png", b"eno")
    assert root.found()["a.png"].stamp() != found["a.png"].stamp() == found["sub/é #1.png"].stamp()


def test_an_object_is_replaced_whole_or_not_at_all_and_removed_once(store: Store) -> None:
    place = RemotePath(f"{store.url}/masks/a.png")
    assert not place.exists()
    write_atomic(place, b"old")
    with pytest.raises(RuntimeError, match="midway"):
        _write_half(place)
    assert read_bytes(place) == b"old"
    with open_atomic(place) as stream:
        stream.write(b"n" * (12 << 20))
    assert read_bytes(place) == b"n" * (12 << 20)
    assert remove(place)
    assert not remove(place)
    with pytest.raises(DataError, match="file is missing"):
        read_bytes(place)


def _write_half(place: RemotePath) -> None:
    with open_atomic(place) as stream:
        stream.write(b"ne")
        raise RuntimeError("midway")


@pytest.mark.parametrize("comment_bytes", [0, 300_000], ids=["plain", "long-header"])
def test_sizes_in_a_store_are_those_on_disk(
    store: Store, tmp_path: Path, comment_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="werkzeug")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 700, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, options in (("a.jpg", {"icc_profile": b"x" * comment_bytes or None}), ("a.png", {}), ("a.tif", {})):
        picture.save(tmp_path / name, exif=turned, **options)
        place = RemotePath(f"{store.url}/{name}")
        write_atomic(place, (tmp_path / name).read_bytes())
        caplog.clear()
        assert image_size_hw(place) == image_size_hw(tmp_path / name)
        assert np.array_equal(read_image(place), read_image(tmp_path / name))
        replies = [record.getMessage().split('" ')[1][:3] for record in caplog.records if record.name == "werkzeug"]
        expected = {"plain": ["206", "200"], "long-header": ["206", "200", "200"]}
        wanted = expected["long-header" if comment_bytes else "plain"] if name == "a.jpg" else ["200", "200"]
        assert replies == wanted, "of a JPEG only the beginning is read"
    empty = RemotePath(f"{store.url}/empty.jpg")
    write_atomic(empty, b"")
    with pytest.raises(DataError, match=r"empty\.jpg: cannot be read"):
        image_size_hw(empty)
    with pytest.raises(DataError, match=r"none\.jpg: file is missing"):
        image_size_hw(RemotePath(f"{store.url}/none.jpg"))


def test_another_store_of_fsspec_is_one_too() -> None:
    root = RemotePath("memory://steel/data")
    assert root.found() == {}
    write_atomic(root / "sub" / "a.png", b"a mask")
    assert {name: file.read_bytes() for name, file in root.found().items()} == {"sub/a.png": b"a mask"}
    stamp = root.found()["sub/a.png"].stamp()
    assert (root / "sub" / "a.png").stamp() == stamp
    write_atomic(root / "sub" / "a.png", b"b mask")
    assert (root / "sub" / "a.png").stamp() != stamp
    assert remove(root / "sub" / "a.png")
    assert not (root / "sub" / "a.png").exists()


def test_a_pickled_place_holds_nothing_open_and_is_read_by_another_process(store: Store) -> None:
    place = RemotePath(f"{store.url}/a.png")
    write_atomic(place, b"seen from there")
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).read_bytes().decode())"
    command = [sys.executable, "-c", code, pickle.dumps(place).hex()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "seen from there\n"


def test_threads_give_results_in_order_and_stop_at_the_first_error() -> None:
    assert list(side_by_side(abs, range(-300, 0))) == list(range(300, 0, -1))
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda n: 1 // (n - 100), range(300)))


def test_where_a_file_could_be_left_half_written_nothing_is_written() -> None:
    with pytest.raises(StoreError, match="ftp:// is read, not written"):
        write_atomic(RemotePath("ftp://127.0.0.1/a.png"), b"x")


def test_a_protocol_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="nobody knows the protocol s4://") as caught:
        RemotePath("s4://bucket/x").read_bytes()
    assert "s3://" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("url", "blocked", "said"),
    [
        ("s3://b/x", "s3fs", install_command("s3")),
        ("s3://b/x", "fsspec", install_command("s3")),
        ("gs://b/x", "gcsfs", "Please install gcsfs"),
    ],
)
def test_a_package_that_is_missing_is_named(url: str, blocked: str, said: str) -> None:
    code = f"import sys; sys.modules[{blocked!r}] = None\nfrom annoloop.data.storage import RemotePath\n"
    code += f"try: RemotePath({url!r}).read_bytes()\nexcept Exception as error: print(type(error).__name__, error)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith((MissingExtraError.__name__, ConfigError.__name__))
    assert said in shown


def test_local_data_are_read_without_fsspec(project: Project, tmp_path: Path) -> None:
    code = "import sys\nfrom annoloop.cli.main import run\nassert run(['status']) == run(['eda']) == 0\n"
    code += "assert run(['convert', 'to-coco', '--out', 'x.json']) == 0\nassert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=project.path.parent, check=True, capture_output=True)


def test_a_bucket_that_does_not_exist_is_named(store: Store) -> None:
    place = RemotePath("s3://no-such-bucket/x.png")
    for act in (place.found, place.read_bytes, lambda: write_atomic(place, b"x")):
        with pytest.raises(StoreError, match=r"s3://no-such-bucket/x\.png: no such bucket"):
            act()


def test_a_password_in_an_address_is_not_repeated() -> None:
    assert _reason(OSError("no answer from http://me:hidden@host/x\nmore")) == "no answer from http://…@host/x"


class _Refusing(BaseHTTPRequestHandler):
    """Refuses to show one object, and breaks off in the middle of another."""

    def do_GET(self) -> None:
        if "forbidden" in self.path:
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
        else:
            body = b"the first half"
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) * (1 if "forbidden" in self.path else 2)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("forbidden.png", {}, "the store refuses access (Access Denied)"),
        ("half.png", {}, "the store does not answer as it should"),
        ("any.png", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
        ("any.png", {"HTTP_PROXY": "http://me:hidden@127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}, "proxy URL"),
        ("any.png", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
    ],
    ids=["forbidden", "cut", "nobody", "proxy-with-password", "no-credentials"],
)
def test_what_goes_wrong_on_the_way_is_said_without_secrets(
    refusing: str, name: str, changed: dict[str, str], said: str
) -> None:
    place = f"s3://bucket/{name}"
    code = "import sys\nfrom annoloop.data.storage import RemotePath\nfrom annoloop.errors import StoreError\n"
    code += "try: RemotePath(sys.argv[1]).read_bytes()\nexcept StoreError as error: print(error)"
    environment = {**os.environ, **ACCOUNT, "AWS_ENDPOINT_URL": refusing, **changed}
    command = [sys.executable, "-c", code, place]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert place in shown.stdout
    assert said in shown.stdout
    assert "hint: " in shown.stdout
    assert ACCOUNT["AWS_SECRET_ACCESS_KEY"] not in shown.stdout + shown.stderr
    assert "hidden" not in shown.stdout + shown.stderr
