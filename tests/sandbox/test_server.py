"""The embedded CVAT, driven by the real cvat-sdk over HTTP and compared with what CVAT 2.54.1 answers.

Every expected status, body and key here was recorded from a real server, except where a comment says
that the sandbox is stricter.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import urllib3
from cvat_sdk import make_client, masks, models
from cvat_sdk.core.client import Client
from cvat_sdk.core.exceptions import BackgroundRequestException
from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction
from cvat_sdk.core.uploading import DataUploader
from cvat_sdk.exceptions import ApiException
from memory import most_bytes, tells_memory
from PIL import Image

from annoloop.sandbox import schema

IMAGE_QUALITY = {"image_quality": 70}


@dataclass(frozen=True)
class Server:
    url: str
    token: str
    username: str
    password: str
    process: subprocess.Popen[str]

    def client(self) -> Client:
        client = make_client(self.url, access_token=self.token)
        client.config.status_check_period = 0.02
        return client

    def raw(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """One request without the SDK; signed in by the token unless headers are given."""
        headers = options.pop("headers", {"Authorization": f"Bearer {self.token}"})
        return urllib3.request(method, self.url + path, headers=headers, retries=False, **options)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)


def start(state: Path, *options: str) -> Server:
    command = [sys.executable, "-m", "annoloop.sandbox", "--state", str(state), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    greeting = json.loads(process.stdout.readline())
    assert greeting.pop("pid") == process.pid
    return Server(**greeting, process=process)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def server(state: Path) -> Iterator[Server]:
    started = start(state)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as made:
        yield made


def png(width: int = 30, height: int = 20, value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def finished(server: Server, rq_id: str) -> dict[str, Any]:
    """A background request when it has ended."""
    for _ in range(1000):
        row: dict[str, Any] = server.raw("GET", f"/api/requests/{rq_id}").json()
        if row["finished_date"] is not None:
            return row
        time.sleep(0.01)
    raise AssertionError(f"{rq_id} does not end")


def make_task(client: Client, folder: Path, names: list[str], **spec: Any) -> Any:
    """A task of its own project with labels cat and dog, and one image per name."""
    project = client.projects.create(
        {"name": "project", "labels": [{"name": "cat", "color": "#ff0000"}, {"name": "dog"}]}
    )
    task = client.tasks.create({"name": "task", "project_id": project.id, **spec})
    entries = {name: png(value=place) for place, name in enumerate(names)}
    task.upload_data([write_zip(folder / "images.zip", entries)], params=IMAGE_QUALITY)
    return task


@pytest.fixture(scope="module")
def task(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_task(client, tmp_path_factory.mktemp("images"), ["a.png", "b.png", "c.png"])


def shape(label_id: int, frame: int = 0, points: list[float] | None = None, **more: Any) -> dict[str, Any]:
    given = points if points is not None else [0.0, 4.0, 1.0, 1.0, 2.0, 2.0]
    return {"type": "mask", "frame": frame, "label_id": label_id, "points": given, **more}


def labeled(*shapes: dict[str, Any]) -> models.LabeledDataRequest:
    return models.LabeledDataRequest(shapes=[models.LabeledShapeRequest(**item) for item in shapes])


def patched(*shapes: dict[str, Any]) -> models.PatchedLabeledDataRequest:
    return models.PatchedLabeledDataRequest(shapes=[models.LabeledShapeRequest(**item) for item in shapes])


# Who it is, who may come in


def test_it_says_that_it_is_a_stand_in(client: Client) -> None:
    about, _ = client.api_client.server_api.retrieve_about()
    assert about.version == "2.54.1"
    assert about.name == "annoloop sandbox, a stand-in for CVAT"
    assert "not CVAT" in about.description


def test_secrets_are_private(server: Server, state: Path) -> None:
    path = state / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.token.encode() not in (state / "sandbox.db").read_bytes()
    assert server.token.encode() not in (state / "sandbox.db-wal").read_bytes()


def test_password_gives_a_session_that_ends_with_logout(server: Server) -> None:
    with make_client(server.url, credentials=(server.username, server.password)) as client:
        project = client.projects.create({"name": "by password"})  # a write: the CSRF token is checked
        assert client.projects.retrieve(project.id).owner.username == "annoloop"
        session = client.api_client.cookies["sessionid"].value
        client.logout()
    assert server.raw("GET", "/api/users/self", headers={"Cookie": f"sessionid={session}"}).status == 401


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "Authentication credentials were not provided."),
        ({"Authorization": "Bearer nope"}, "Invalid token."),
        ({"Authorization": "Token nope"}, "Invalid token."),
        (basic("annoloop:nope"), "Invalid username/password."),
    ],
)
def test_strangers_get_401(server: Server, headers: dict[str, str], detail: str) -> None:
    answer = server.raw("GET", "/api/users/self", headers=headers)
    assert (answer.status, answer.json()) == (401, {"detail": detail})


def test_basic_and_login_key_work(server: Server) -> None:
    login = {"username": server.username, "password": server.password}
    key = server.raw("POST", "/api/auth/login", json=login, headers={}).json()["key"]
    for headers in (basic(f"{server.username}:{server.password}"), {"Authorization": f"Token {key}"}):
        assert server.raw("GET", "/api/users/self", headers=headers).json()["username"] == "annoloop"


def test_sessions_need_a_csrf_token(server: Server) -> None:
    login = {"username": server.username, "password": server.password}
    cookies = server.raw("POST", "/api/auth/login", json=login, headers={}).headers.getlist("set-cookie")
    session = next(cookie.split(";")[0] for cookie in cookies if cookie.startswith("sessionid"))
    refused = server.raw("POST", "/api/tasks", json={"name": "x"}, headers={"Cookie": session})
    assert (refused.status, refused.json()) == (403, {"detail": "CSRF Failed: CSRF token missing."})


def test_access_tokens_can_be_read_only_and_revoked(server: Server, task: Any) -> None:
    made = server.raw("POST", "/api/auth/access_tokens", json={"name": "ro", "read_only": True})
    assert made.status == 201
    headers = {"Authorization": f"Bearer {made.json()['value']}"}
    assert server.raw("GET", "/api/auth/access_tokens/self", headers=headers).json()["read_only"] is True
    refused = server.raw("PATCH", f"/api/tasks/{task.id}", json={"name": "x"}, headers=headers)
    expected = {"detail": "You do not have permission to perform this action."}
    assert (refused.status, refused.json()) == (403, expected)
    assert server.raw("DELETE", f"/api/auth/access_tokens/{made.json()['id']}").status == 204
    assert server.raw("GET", "/api/users/self", headers=headers).json() == {"detail": "Invalid token."}


def test_using_a_token_is_noted(server: Server) -> None:
    made = server.raw("POST", "/api/auth/access_tokens", json={"name": "lab"}).json()
    assert made["last_used_date"] is None
    headers = {"Authorization": f"Bearer {made['value']}"}
    seen = server.raw("GET", "/api/auth/access_tokens/self", headers=headers).json()
    assert seen.pop("last_used_date") > made["created_date"]
    assert seen == {key: value for key, value in made.items() if key not in ("value", "last_used_date")}


def from_now(minutes: int, zone_hours: int) -> str:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    return moment.astimezone(timezone(timedelta(hours=zone_hours))).isoformat()


@pytest.mark.parametrize(
    ("expiry", "status"), [(None, 200), ("2000-01-01T00:00:00Z", 401), ((-1, 9), 401), ((60, -9), 200)]
)
def test_access_tokens_expire(server: Server, expiry: str | tuple[int, int] | None, status: int) -> None:
    expiry_date = from_now(*expiry) if isinstance(expiry, tuple) else expiry
    made = server.raw("POST", "/api/auth/access_tokens", json={"name": "short", "expiry_date": expiry_date}).json()
    answer = server.raw("GET", "/api/users/self", headers={"Authorization": f"Bearer {made['value']}"})
    assert answer.status == status
    if status == 401:
        assert answer.json() == {"detail": "Invalid token."}


def new_worker(server: Server) -> dict[str, str]:
    """A second user, signed in by an access token of their own."""
    name = f"worker-{uuid4().hex[:8]}"
    account = {"username": name, "password1": "correct horse", "password2": "correct horse"}
    key = server.raw("POST", "/api/auth/register", json=account, headers={}).json()["key"]
    made = server.raw("POST", "/api/auth/access_tokens", json={"name": "w"}, headers={"Authorization": f"Token {key}"})
    return {"Authorization": f"Bearer {made.json()['value']}"}


def test_an_assignee_has_the_job_and_nothing_else(server: Server, client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    worker = new_worker(server)
    job = task.get_jobs()[0]
    assert server.raw("GET", f"/api/jobs/{job.id}", headers=worker).status == 403
    user = server.raw("GET", "/api/users/self", headers=worker).json()
    job.update({"assignee": user["id"]})
    assert job.assignee.username == user["username"]
    assert server.raw("GET", f"/api/tasks/{task.id}", headers=worker).status == 403
    body = {"shapes": [shape(task.get_labels()[0].id)]}
    path = f"/api/jobs/{job.id}/annotations?action=create"
    assert server.raw("PATCH", path, json=body, headers=worker).status == 200
    assert server.raw("PATCH", f"/api/jobs/{job.id}", json={"state": "completed"}, headers=worker).status == 200
    assert server.raw("PATCH", f"/api/jobs/{job.id}", json={"stage": "acceptance"}, headers=worker).status == 403
    assert [row["id"] for row in server.raw("GET", "/api/jobs", headers=worker).json()["results"]] == [job.id]


# Organizations


@pytest.fixture(scope="module")
def lab(server: Server) -> dict[str, Any]:
    made = server.raw("POST", "/api/organizations", json={"slug": "lab"})
    assert made.status == 201
    row: dict[str, Any] = made.json()
    return row


def test_an_organization_is_as_cvats(server: Server, lab: dict[str, Any]) -> None:
    assert (lab["slug"], lab["name"], lab["description"], lab["contact"]) == ("lab", "lab", "", {})
    assert lab["owner"]["username"] == "annoloop"
    assert lab in server.raw("GET", "/api/organizations").json()["results"]
    assert server.raw("GET", f"/api/organizations/{lab['id']}").json() == lab


def test_what_is_made_in_an_organization_is_listed_there(
    server: Server, client: Client, lab: dict[str, Any], tmp_path: Path
) -> None:
    outside = make_task(client, tmp_path, ["a.png"])
    with client.organization_context("lab"):
        inside = make_task(client, tmp_path, ["a.png"])
        for found in (client.tasks.list(), client.projects.list(), client.jobs.list()):
            assert [row.organization_id if hasattr(row, "organization_id") else row.organization for row in found] == [
                lab["id"]
            ]
        assert client.tasks.retrieve(outside.id).organization_id is None  # by its number it is found everywhere
    queries = {"org=lab": {inside.id}, f"org_id={lab['id']}": {inside.id}, "": {inside.id, outside.id}}
    for query, expected in queries.items():
        rows = server.raw("GET", f"/api/tasks?page_size=all&{query}").json()["results"]
        assert {row["id"] for row in rows} >= expected
        assert not query or {row["organization"] for row in rows} == {lab["id"]}
    with client.organization_context(""):
        assert {row.organization for row in client.tasks.list()} == {None}


def test_a_task_lies_where_its_project_lies(server: Server, lab: dict[str, Any]) -> None:
    project = server.raw("POST", "/api/projects?org=lab", json={"name": "p"}).json()
    refused = server.raw("POST", "/api/tasks", json={"name": "t", "project_id": project["id"]})
    expected = ["The task and its project should be in the same organization."]
    assert (refused.status, refused.json()) == (400, expected)


def test_an_organization_is_closed_to_others(server: Server, lab: dict[str, Any]) -> None:
    worker = new_worker(server)
    assert server.raw("GET", "/api/tasks?org=lab", headers=worker).status == 403
    assert server.raw("GET", "/api/organizations", headers=worker).json()["count"] == 0
    slug = uuid4().hex[:8]
    assert server.raw("POST", "/api/organizations", json={"slug": slug}, headers=worker).status == 201
    assert server.raw("GET", f"/api/tasks?org={slug}", headers=worker).json()["count"] == 0
    in_it = server.raw("POST", f"/api/tasks?org={slug}", json={"name": "by staff"}).json()["id"]
    assert server.raw("GET", f"/api/tasks/{in_it}", headers=worker).status == 200  # the organization is theirs


@pytest.mark.parametrize(
    ("path", "status"),
    [("?org=nope", 404), ("?org_id=999", 404), ("?org_id=nope", 404), ("?org=lab&org_id=1", 400), ("?org=", 200)],
)
def test_one_organization_that_exists_is_named(server: Server, lab: dict[str, Any], path: str, status: int) -> None:
    assert server.raw("GET", f"/api/projects{path}").status == status


@pytest.mark.parametrize("slug", ["lab", "", "white space", "seventeen-letters"])
def test_a_slug_is_short_plain_and_new(server: Server, lab: dict[str, Any], slug: str) -> None:
    answer = server.raw("POST", "/api/organizations", json={"slug": slug})
    assert (answer.status, list(answer.json())) == (400, ["slug"])


# Whom it answers


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_other_hosts_and_origins_are_refused(server: Server, headers: dict[str, str]) -> None:
    answer = server.raw("GET", "/api/tasks", headers={"Authorization": f"Bearer {server.token}", **headers})
    assert answer.status in (400, 403)


# Projects, labels, frames


def test_labels_are_added_renamed_and_deleted(client: Client) -> None:
    project = client.projects.create({"name": "p", "labels": [{"name": "cat", "color": "#ff0000"}]})
    [cat] = project.get_labels()
    assert (cat.name, cat.color, cat.type) == ("cat", "#ff0000", "any")
    project.update({"labels": [{"id": cat.id, "name": "lynx"}, {"name": "dog"}]})
    assert [label.name for label in project.get_labels()] == ["lynx", "dog"]
    project.update({"labels": [{"id": cat.id, "deleted": True}]})
    assert [label.name for label in project.get_labels()] == ["dog"]


def test_a_refused_change_of_labels_changes_nothing(client: Client) -> None:
    project = client.projects.create({"name": "p", "labels": [{"name": "cat"}, {"name": "dog"}]})
    with pytest.raises(ApiException) as caught:
        project.update({"labels": [{"name": "bird"}, {"name": "cat"}]})
    assert json.loads(caught.value.body) == ["All label names must be unique"]
    assert [label.name for label in project.get_labels()] == ["cat", "dog"]


def test_labels_of_a_task_in_a_project_cannot_be_changed(client: Client, task: Any) -> None:
    client.tasks.retrieve(task.id).update({"labels": [{"name": "bird"}]})
    assert [label.name for label in task.get_labels()] == ["cat", "dog"]


def frame_names(task: Any) -> list[str]:
    return [frame.name for frame in task.get_frames_info()]


def test_a_zip_keeps_folders_and_is_sorted(client: Client, tmp_path: Path) -> None:
    names = ["b/1.png", "img_2.png", "img_10.png", "a/1.png", "Ü n.png"]
    assert frame_names(make_task(client, tmp_path, names)) == sorted(names)


@pytest.mark.parametrize(
    ("sorting", "expected"),
    [
        ("lexicographical", ["img_1.png", "img_10.png", "img_2.png"]),
        ("natural", ["img_1.png", "img_2.png", "img_10.png"]),
        ("predefined", ["img_10.png", "img_2.png", "img_1.png"]),
    ],
)
def test_single_files_lose_their_folder(client: Client, tmp_path: Path, sorting: str, expected: list[str]) -> None:
    (tmp_path / "deep").mkdir()
    files = [tmp_path / "deep" / name for name in ("img_10.png", "img_2.png", "img_1.png")]
    for file in files:
        file.write_bytes(png())
    task = client.tasks.create({"name": "t", "labels": [{"name": "cat"}]})
    task.upload_data(files, params={**IMAGE_QUALITY, "sorting_method": sorting})
    assert frame_names(task) == expected
    assert (task.size, task.image_quality, task.mode) == (3, 70, "annotation")


def test_two_files_of_one_name_break_the_upload(client: Client, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.png").write_bytes(png())
    task = client.tasks.create({"name": "t"})
    with pytest.raises(ApiException) as caught:
        task.upload_data([tmp_path / "x/same.png", tmp_path / "y/same.png"], params=IMAGE_QUALITY)
    assert caught.value.status == 500
    assert "text/html" in caught.value.headers["content-type"]
    assert client.tasks.retrieve(task.id).mode == ""


def test_a_broken_image_leaves_an_empty_task_for_good(client: Client, tmp_path: Path) -> None:
    task = client.tasks.create({"name": "t", "labels": [{"name": "cat"}]})
    broken = write_zip(tmp_path / "x.zip", {"a.png": png(), "b.png": png()[:40]})
    with pytest.raises(BackgroundRequestException, match=r"b\.png"):
        task.upload_data([broken], params=IMAGE_QUALITY)
    assert task.get_jobs() == []
    with pytest.raises(ApiException) as caught:
        task.upload_data([broken], params=IMAGE_QUALITY)
    assert (caught.value.status, json.loads(caught.value.body)) == (400, "Adding more data is not supported")


def test_a_zip_cannot_write_outside_its_folder(client: Client, tmp_path: Path, state: Path) -> None:
    task = client.tasks.create({"name": "t"})
    with pytest.raises(BackgroundRequestException, match="outside the archive"):
        task.upload_data([write_zip(tmp_path / "x.zip", {"../../evil.png": png()})], params=IMAGE_QUALITY)
    assert not list(state.rglob("evil.png"))
    assert not (state / "tasks" / str(task.id)).exists()


def test_exif_orientation_swaps_width_and_height(client: Client, tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (40, 10)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    task = client.tasks.create({"name": "t"})
    task.upload_data([tmp_path / "turned.jpg"], params=IMAGE_QUALITY)
    [frame] = task.get_frames_info()
    assert (frame.width, frame.height) == (10, 40)


def test_context_images_belong_to_their_frame(server: Server, client: Client, tmp_path: Path) -> None:
    names = ["d/p1.png", "d/related_images/p1_png/1 labels.png", "d/related_images/p1_png/2 prediction.png"]
    task = make_task(client, tmp_path, [*names, "d/p2.png"])
    assert [(f.name, f.related_files) for f in task.get_frames_info()] == [("d/p1.png", 2), ("d/p2.png", 0)]
    archives = [
        zipfile.ZipFile(io.BytesIO(server.raw("GET", f"/api/tasks/{task.id}/data?{query}").data))
        for query in ("type=context_image&number=0", "type=context_image&number=1")
    ]
    assert [archive.namelist() for archive in archives] == [["1 labels.jpg", "2 prediction.jpg"], []]
    assert Image.open(archives[0].open("1 labels.jpg")).format == "JPEG"


def test_large_files_come_in_pieces(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvat_sdk.core.uploading.TUS_CHUNK_SIZE", 100)
    archive = write_zip(tmp_path / "big.zip", {"a/1.png": png(200, 100), "a/2.png": png(200, 100)})
    task = client.tasks.create({"name": "t"})
    url = f"{client.api_map.host}/api/tasks/{task.id}/data/"
    response = DataUploader(client, max_request_size=10).upload_files(url, [archive], **IMAGE_QUALITY)
    client.wait_for_completion(json.loads(response.data)["rq_id"])
    assert frame_names(task) == ["a/1.png", "a/2.png"]


def test_a_piece_must_begin_where_the_file_ends(server: Server, client: Client) -> None:
    task = client.tasks.create({"name": "t"})
    signed = {"Authorization": f"Bearer {server.token}", "Tus-Resumable": "1.0.0"}
    name = base64.b64encode(b"x.png").decode()
    announced = {**signed, "Upload-Length": "10", "Upload-Metadata": f"filename {name}"}
    path = server.raw("POST", f"/api/tasks/{task.id}/data/", headers=announced).headers["Location"]
    path = path.removeprefix(server.url)
    statuses = [
        server.raw("PATCH", path, headers={**signed, "Upload-Offset": offset}, body=content).status
        for offset, content in (("0", b"12345"), ("0", b"12345"), ("5", b"1234567"))
    ]
    assert statuses == [204, 409, 413]
    assert server.raw("HEAD", path, headers=signed).headers["Upload-Offset"] == "5"


@tells_memory
def test_uploads_are_not_held_in_memory(tmp_path: Path) -> None:
    size = 96 << 20
    archive = write_zip(tmp_path / "big.zip", {"big.png": bytes(size)}).read_bytes()
    one = start(tmp_path / "state")
    try:
        paths = [f"/api/tasks/{one.raw('POST', '/api/tasks', json={'name': 't'}).json()['id']}/data/" for _ in "12"]
        before = most_bytes(one.process.pid)
        signed = {"Authorization": f"Bearer {one.token}"}
        form = {"client_files[0]": ("big.zip", archive), "image_quality": "70"}
        assert one.raw("POST", paths[0], fields=form, headers={**signed, "Upload-Multiple": "true"}).status == 200
        name = base64.b64encode(b"big.zip").decode()
        announced = {**signed, "Upload-Length": str(len(archive)), "Upload-Metadata": f"filename {name}"}
        piece = one.raw("POST", paths[1], headers=announced).headers["Location"].removeprefix(one.url)
        assert one.raw("PATCH", piece, headers={**signed, "Upload-Offset": "0"}, body=archive).status == 204
        for path in paths:
            made = one.raw("POST", path, json={"image_quality": 70}, headers={**signed, "Upload-Finish": "true"})
            outcome = finished(one, made.json()["rq_id"])
            assert "big.png: UnidentifiedImageError" in outcome["message"]  # so it was unpacked
        assert most_bytes(one.process.pid) - before < size / 3
    finally:
        one.stop()


def test_frames_come_back_as_sent_or_as_jpeg(server: Server, client: Client, task: Any) -> None:
    assert task.get_frame(1, quality="original").read() == png(value=1)
    assert Image.open(task.get_frame(1, quality="compressed")).format == "JPEG"
    assert Image.open(task.get_preview()).format == "JPEG"
    chunk = io.BytesIO()
    task.download_chunk(0, chunk, quality="original")
    with zipfile.ZipFile(chunk) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [png(value=i) for i in range(3)]


def test_deleted_frames_are_a_list_in_the_meta(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png", "b.png", "c.png", "d.png"], segment_size=2)
    task.remove_frames_by_ids([1, 2])
    assert (task.get_meta().deleted_frames, task.get_meta().size) == ([1, 2], 4)
    second, first = task.get_jobs()
    assert (first.get_meta().deleted_frames, second.get_meta().deleted_frames) == ([1], [2])
    second.remove_frames_by_ids([])
    assert task.get_meta().deleted_frames == [1]


def test_segments_become_jobs_newest_first(client: Client, tmp_path: Path) -> None:
    names = [f"{i:02}.png" for i in range(40)]
    task = make_task(client, tmp_path, names, segment_size=15, overlap=5)
    spans = [(job.start_frame, job.stop_frame) for job in reversed(task.get_jobs())]
    assert spans == [(0, 14), (10, 24), (20, 34), (30, 39)]
    label = task.get_labels()[0].id
    task.set_annotations(labeled(shape(label, frame=12)))
    assert [item.frame for item in task.get_annotations().shapes] == [12, 12]
    assert [len(job.get_annotations().shapes) for job in task.get_jobs()] == [0, 0, 1, 1]


# Annotations


def test_masks_come_back_exactly(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png", "b.png"])
    cat, dog = (label.id for label in task.get_labels())
    random = np.random.default_rng(0)
    drawn = [random.random((20, 30)) < 0.5 for _ in range(3)]
    shapes = [
        shape(label, frame=frame, points=masks.encode_mask(bits))
        for label, frame, bits in zip((cat, dog, cat), (0, 0, 1), drawn, strict=True)
    ]
    task.set_annotations(labeled(*shapes))
    got = task.get_annotations().shapes
    assert [(item.label_id, item.frame, item.source) for item in got] == [
        (cat, 0, "manual"),
        (dog, 0, "manual"),
        (cat, 1, "manual"),
    ]
    for item, bits in zip(got, drawn, strict=True):
        np.testing.assert_array_equal(masks.decode_mask(item.points, image_width=30, image_height=20), bits)


def test_nothing_in_a_mask_is_checked_and_whole_numbers_become_floats(
    server: Server, client: Client, tmp_path: Path
) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    body = {"shapes": [shape(task.get_labels()[0].id, points=[0, 10000, -5, -5, 900, 900])]}
    path = f"/api/tasks/{task.id}/annotations"
    assert "[0, 10000, -5, -5, 900, 900]" in server.raw("PUT", path, json=body).data.decode()
    assert "[0.0, 10000.0, -5.0, -5.0, 900.0, 900.0]" in server.raw("GET", path).data.decode()


def test_update_keeps_the_id_and_creates_what_has_none(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    cat, dog = (label.id for label in task.get_labels())
    task.update_annotations(patched(shape(cat), shape(cat, source="auto")))
    first, second = task.get_annotations().shapes
    before = client.tasks.retrieve(task.id).updated_date
    task.update_annotations(patched(shape(dog, id=second.id, source="auto")))
    got = {item.id: (item.label_id, item.source) for item in task.get_annotations().shapes}
    assert got == {first.id: (cat, "manual"), second.id: (dog, "auto")}
    assert client.tasks.retrieve(task.id).updated_date > before
    # as recorded: writing annotations leaves the state of a job alone
    assert [job.state for job in task.get_jobs()] == ["new"]


def test_annotations_are_deleted_one_by_one_and_all_at_once(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    cat = task.get_labels()[0].id
    task.update_annotations(patched(shape(cat), shape(cat), shape(cat)), action=AnnotationUpdateAction.CREATE)
    ids = [item.id for item in task.get_annotations().shapes]
    [job] = task.get_jobs()
    job.remove_annotations(ids=ids[:1])
    assert [item.id for item in task.get_annotations().shapes] == ids[1:]
    task.remove_annotations()
    assert task.get_annotations().shapes == []
    task.set_annotations(labeled(shape(cat)))
    assert task.get_annotations().shapes[0].id > max(ids)  # ids are never used twice


def test_a_frame_past_the_end_is_dropped_without_a_word(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    cat = task.get_labels()[0].id
    task.set_annotations(labeled(shape(cat, frame=0), shape(cat, frame=7)))
    assert [item.frame for item in task.get_annotations().shapes] == [0]


def test_deleting_a_label_deletes_its_shapes(server: Server, client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    cat, dog = (label.id for label in task.get_labels())
    task.set_annotations(labeled(shape(cat), shape(dog)))
    assert server.raw("DELETE", f"/api/labels/{cat}").status == 204
    assert [item.label_id for item in task.get_annotations().shapes] == [dog]


def test_megabytes_of_masks_are_quick(server: Server, client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    body = {"shapes": [shape(task.get_labels()[0].id, points=[3.0, 4.0] * 40_000) for _ in range(10)]}
    path, sent = f"/api/tasks/{task.id}/annotations", json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    began = time.monotonic()
    assert server.raw("PUT", path, body=sent, headers=headers).status == 200
    assert time.monotonic() - began < 2.0, "a real server takes 3 s; half a second is usual here"
    assert len(server.raw("GET", path).data) > len(sent)


def test_parallel_writes_are_all_kept(server: Server, client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    body = {"shapes": [shape(task.get_labels()[0].id)]}
    path = f"/api/tasks/{task.id}/annotations"
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(server.raw, "PATCH", f"{path}?action=create", json=body) for _ in range(40)]
    assert {call.result().status for call in calls} == {200}
    sent = {call.result().json()["shapes"][0]["id"] for call in calls}
    assert {item["id"] for item in server.raw("GET", path).json()["shapes"]} == sent
    assert len(sent) == 40


# Jobs, issues, lists


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{"state": "in progress"}], ("annotation", "in progress", "annotation")),
        ([{"state": "completed"}, {"stage": "validation"}], ("validation", "new", "validation")),
        ([{"stage": "validation"}, {"state": "rejected"}], ("validation", "rejected", "validation")),
        ([{"stage": "acceptance", "state": "completed"}], ("acceptance", "completed", "completed")),
    ],
)
def test_a_new_stage_resets_the_state_unless_both_are_sent(
    client: Client, tmp_path: Path, changes: list[dict[str, str]], expected: tuple[str, str, str]
) -> None:
    [job] = make_task(client, tmp_path, ["a.png"]).get_jobs()
    for change in changes:
        job.update(change)
    assert (job.stage, job.state, job.status) == expected


def test_a_task_counts_its_accepted_jobs(client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png", "b.png"], segment_size=1)
    done, checked = task.get_jobs()
    done.update({"stage": "acceptance", "state": "completed"})
    checked.update({"stage": "validation"})
    task.fetch()
    assert (task.jobs.count, task.jobs.completed, task.jobs.validation, task.status) == (
        2,
        1,
        1,
        "validation",
    )
    checked.update({"stage": "acceptance", "state": "completed"})
    assert task.fetch().status == "completed"


def test_issues_and_comments(server: Server, client: Client, tmp_path: Path) -> None:
    [job] = make_task(client, tmp_path, ["a.png"]).get_jobs()
    spec = {"job": job.id, "frame": 999, "position": [3, 4, 10, 12], "message": "bag missed"}
    issue = client.issues.create(spec)
    assert issue.position == [3.0, 4.0, 10.0, 12.0]
    client.comments.create({"issue": issue.id, "message": "second"})
    assert [comment.message for comment in issue.get_comments()] == ["second", "bag missed"]
    issue.update({"resolved": True})
    assert [(i.id, i.resolved, i.comments.count) for i in job.get_issues()] == [(issue.id, True, 2)]
    issue.remove()
    assert job.fetch().issues.count == 0
    assert server.raw("GET", f"/api/comments?issue_id={issue.id}").json()["count"] == 0


def test_a_guide_is_kept_with_its_project(server: Server, client: Client) -> None:
    project = client.projects.create({"name": "p"})
    made = server.raw("POST", "/api/guides", json={"project_id": project.id, "markdown": "# Draw"}).json()
    assert client.projects.retrieve(project.id).guide_id == made["id"]
    server.raw("PATCH", f"/api/guides/{made['id']}", json={"markdown": "# Erase"})
    assert server.raw("GET", f"/api/guides/{made['id']}").json()["markdown"] == "# Erase"


def test_an_issue_takes_milliseconds(server: Server, client: Client, tmp_path: Path) -> None:
    [job] = make_task(client, tmp_path, ["a.png"]).get_jobs()
    spec = {"job": job.id, "frame": 0, "position": [1, 2, 30, 40], "message": "bag missed"}
    pool = urllib3.HTTPConnectionPool(server.url.removeprefix("http://"))
    seconds = []
    for _ in range(100):
        began = time.perf_counter()
        answer = pool.request("POST", "/api/issues", json=spec, headers={"Authorization": f"Bearer {server.token}"})
        seconds.append(time.perf_counter() - began)
        assert answer.status == 201
    assert median(seconds) < 0.02, "2 ms are usual"


LOOKUPS = (
    *(f"{view} WHERE id IS 1" for view in
      ("project_rows", "task_rows", "job_rows", "issue_rows", "comment_rows", "request_rows")),
    "job_rows WHERE task_id IS 1",
    "labels WHERE project_id IS 1",
    "labels WHERE task_id IS 1",
    "frames WHERE task_id IS 1",
    "annotations WHERE job_id IS 1",
    "secrets WHERE kind IS 'access' AND digest IS 'd'",
)  # fmt: skip


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_nothing_is_found_by_walking_through_a_table(lookup: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema.TABLES + schema.VIEWS)
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {lookup}")]
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")]


def test_lists_have_pages_filters_and_an_order(server: Server, client: Client) -> None:
    project = client.projects.create({"name": "paged"})
    made = [client.tasks.create({"name": f"n{i}", "project_id": project.id}).id for i in range(5)]
    query = f"/api/tasks?project_id={project.id}"
    page = server.raw("GET", f"{query}&page_size=2").json()
    assert [row["id"] for row in page["results"]] == made[:2:-1]
    assert (page["count"], page["previous"]) == (5, None)
    assert page["next"] == f"{server.url}/api/tasks?page=2&page_size=2&project_id={project.id}"
    last = server.raw("GET", f"{query}&page_size=2&page=3&sort=id").json()
    assert ([row["id"] for row in last["results"]], last["next"]) == ([made[-1]], None)
    assert len(server.raw("GET", f"{query}&page_size=all").json()["results"]) == 5
    assert [task.id for task in client.tasks.list(project_id=project.id)] == made[::-1]
    assert [task.id for task in client.tasks.list(project_id=project.id, name="n3")] == [made[3]]
    assert [task.id for task in client.tasks.list(project_id=project.id, search="N3")] == [made[3]]
    rule = {"and": [{"==": [{"var": "project_id"}, project.id]}, {"in": [{"var": "name"}, ["n1", "n2"]]}]}
    assert [task.id for task in client.tasks.list(filter=rule)] == [made[2], made[1]]
    assert [task.id for task in client.tasks.list(project_id=project.id, id__gte=made[4])] == [made[4]]


def test_deleting_a_project_deletes_its_tasks_and_their_files(client: Client, tmp_path: Path, state: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    assert (state / "tasks" / str(task.id)).is_dir()
    client.projects.retrieve(task.project_id).remove()
    with pytest.raises(ApiException) as caught:
        client.tasks.retrieve(task.id)
    assert caught.value.status == 404
    assert not (state / "tasks" / str(task.id)).exists()


# What CVAT refuses, word for word

NO_TASK = {"detail": "No Task matches the given query."}
NOT_A_NUMBER = "[ErrorDetail(string='Value must be a float or an integer', code='invalid')]"
CREATE = "/api/tasks/{task}/annotations?action=create"
UNKNOWN_TERM = "%7B%22%3D%3D%22%3A%20%5B%7B%22var%22%3A%20%22nope%22%7D%2C%201%5D%7D"

REFUSALS = [
    ("GET", "/api/tasks/999999", None, 404, NO_TASK),
    ("GET", "/api/projects/999999", None, 404, {"detail": "No Project matches the given query."}),
    ("GET", "/api/jobs/999999", None, 404, {"detail": "No Job matches the given query."}),
    ("GET", "/api/tasks/abc", None, 404, {"detail": "Not found."}),
    ("GET", "/api/tasks?page=9999", None, 404, {"detail": "Invalid page."}),
    ("GET", "/api/nope", None, 404, "html"),
    ("GET", "/api/tasks/", None, 404, "html"),
    ("GET", "/api/requests/action=nope", None, 404, "There is no request with specified id"),
    ("DELETE", "/api/tasks", None, 405, {"detail": 'Method "DELETE" not allowed.'}),
    ("GET", "/api/tasks?filter=%7Bbad", None, 400,
     ["filter: can't parse filter expression: Expecting property name enclosed in double quotes: "
      "line 1 column 2 (char 1)"]),
    ("GET", f"/api/tasks?filter={UNKNOWN_TERM}", None, 400, ["filter: term 'nope' is not supported"]),
    ("POST", "/api/auth/login", {}, 400, ['Must include either "username" or "email" and "password".']),
    ("POST", "/api/auth/login", {"username": "annoloop", "password": "wrong"}, 400,
     {"non_field_errors": ["Unable to log in with provided credentials."]}),
    ("POST", "/api/projects", {"name": "x", "labels": [{"name": "a"}, {"name": "a"}]}, 400,
     ["All label names must be unique"]),
    ("POST", "/api/tasks", {"name": ""}, 400, {"name": ["This field may not be blank."]}),
    ("POST", "/api/tasks", {"name": "x", "project_id": 1, "labels": [{"name": "z"}]}, 400,
     ["Task must have only one of Label set or project_id"]),
    ("PATCH", "/api/jobs/{job}", {"stage": "nope"}, 400, {"stage": ['"nope" is not a valid choice.']}),
    ("PATCH", "/api/jobs/{job}", {"state": "nope"}, 400, {"state": ['"nope" is not a valid choice.']}),
    ("PATCH", "/api/jobs/{job}", {"foo": 1}, 403, {"detail": "Attempted to update an unknown field"}),
    ("PATCH", "/api/jobs/{job}", {"assignee": 99999}, 403,
     {"detail": "You do not have permission to perform this action."}),
    ("POST", "/api/tasks", {"name": "x", "project_id": 99999}, 400, ["Project matching query does not exist."]),
    ("PATCH", CREATE, {"shapes": [shape(1) | {"frame": -1}]}, 400,
     {"shapes": [{"frame": ["Ensure this value is greater than or equal to 0."]}]}),
    ("PATCH", CREATE, {"shapes": [shape(1, rotation=400)]}, 400,
     {"shapes": [{"rotation": ["Ensure this value is less than or equal to 360."]}]}),
    ("PATCH", CREATE, {"shapes": [shape(1) | {"type": "skeleton", "points": []}]}, 400,
     {"shapes": [{"elements": ["at least one required for skeleton shape"]}]}),
    ("PATCH", CREATE, {"shapes": [shape(1) | {"points": "1,"}]}, 400,
     {"shapes": [{"points": {"0": NOT_A_NUMBER, "1": NOT_A_NUMBER}}]}),
    ("GET", "/api/tasks/{task}/data?type=frame&quality=original&number=99", None, 400,
     "Invalid frame '99'. The frame number should be in the [0, 3] range"),
    ("PATCH", "/api/tasks/{task}/data/meta", {"deleted_frames": [999]}, 400,
     {"deleted_frames": ["Unknown frames 999 requested for removal"]}),
    ("GET", "/api/tasks/{empty}/data/meta", None, 500, "html"),
    ("GET", "/api/tasks/{empty}/annotations", None, 400,
     "Exporting annotations from a task without data is not allowed"),
    ("PATCH", "/api/tasks/999999/annotations?action=create", {"shapes": []}, 404, NO_TASK),
    ("PATCH", CREATE, {"shapes": [shape(999999)]}, 400, ["label_id `999999` is invalid"]),
    ("PATCH", CREATE, {"shapes": [{"type": "mask", "frame": 0, "points": [0.0] * 6}]}, 400,
     {"shapes": [{"label_id": ["This field is required."]}]}),
    ("PATCH", CREATE, {"shapes": [shape(1, points=[1, 2, 3])]}, 400,
     {"shapes": [{"points": ["invalid length for shape type 'mask'"]}]}),
    ("PATCH", CREATE, {"shapes": [{**shape(1), "points": ["a", "b"]}]}, 400,
     {"shapes": [{"points": {"0": NOT_A_NUMBER, "1": NOT_A_NUMBER}}]}),
    ("PATCH", CREATE, {"shapes": [{**shape(1), "points": None}]}, 400,
     {"shapes": [{"points": ["This field may not be null."]}]}),
    ("PATCH", CREATE, {"shapes": [{**shape(1), "type": "polygon", "points": [0, 0, 5, 5]}]}, 400,
     {"shapes": [{"points": ["invalid length for shape type 'polygon'"]}]}),
    ("PATCH", CREATE, {"shapes": [shape(1, z_order=2**31)]}, 500, "html"),
    ("PUT", "/api/tasks/{task}/annotations", {"shapes": [shape(1, id=7)]}, 400,
     {"shapes": [{"id": ["must be absent"]}]}),
    ("POST", "/api/issues", {"job": 999999, "frame": 0, "position": [1, 2], "message": "x"}, 400,
     ["Job matching query does not exist."]),
    ("POST", "/api/issues", {"job": 1, "frame": 0, "position": [1, 2], "message": ""}, 400,
     {"message": ["This field may not be blank."]}),
    ("POST", "/api/issues", {"job": 1, "frame": 0, "message": "x"}, 400,
     {"position": ["This field is required."]}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "expected"), REFUSALS)
def test_refusals_are_cvats(
    server: Server, client: Client, task: Any, method: str, path: str, body: Any, status: int, expected: Any
) -> None:
    empty = client.tasks.create({"name": "empty"}).id
    ids = {"task": task.id, "job": task.get_jobs()[0].id, "empty": empty}
    answer = server.raw(method, path.format(**ids), **({} if body is None else {"json": body}))
    assert answer.status == status
    if expected == "html":
        assert answer.headers["content-type"].startswith("text/html")
    elif isinstance(expected, str) and answer.headers["content-type"].startswith("text/html"):
        assert answer.data.decode() == expected
    else:
        assert answer.json() == expected


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        ({"X-Organization": "nope-org"}, 404, {"detail": "nope-org organization does not exist."}),
        ({"Accept": "application/vnd.cvat+json; version=1.0"}, 406,
         {"detail": 'Invalid version in "Accept" header.'}),
    ],
)  # fmt: skip
def test_headers_are_checked(server: Server, headers: dict[str, str], status: int, expected: dict[str, str]) -> None:
    answer = server.raw("GET", "/api/projects", headers={"Authorization": f"Bearer {server.token}", **headers})
    assert (answer.status, answer.json()) == (status, expected)


# The keys of CVAT's objects

KEYS = {
    "/api/server/about": {"name", "description", "version", "logo_url", "subtitle"},
    "/api/users/self": {
        "url", "id", "username", "first_name", "last_name", "email", "groups", "is_staff", "is_superuser",
        "is_active", "last_login", "date_joined", "has_analytics_access",
    },
    "/api/projects/{project}": {
        "url", "id", "name", "owner", "assignee", "guide_id", "bug_tracker", "created_date", "updated_date",
        "status", "dimension", "organization", "organization_id", "target_storage", "source_storage", "tasks",
        "labels", "assignee_updated_date", "task_subsets",
    },
    "/api/tasks/{task}": {
        "url", "id", "name", "project_id", "mode", "owner", "assignee", "bug_tracker", "created_date",
        "updated_date", "overlap", "segment_size", "status", "data_chunk_size", "data_original_chunk_type",
        "data_compressed_chunk_type", "data_cloud_storage_id", "guide_id", "size", "image_quality", "data",
        "dimension", "subset", "organization_id", "organization", "target_storage", "source_storage", "jobs",
        "labels", "assignee_updated_date", "validation_mode", "consensus_enabled",
    },
    "/api/jobs/{job}": {
        "url", "id", "task_id", "project_id", "assignee", "guide_id", "dimension", "bug_tracker", "status",
        "stage", "state", "mode", "frame_count", "start_frame", "stop_frame", "data_chunk_size",
        "data_compressed_chunk_type", "data_original_chunk_type", "created_date", "updated_date", "issues",
        "labels", "type", "organization", "target_storage", "source_storage", "assignee_updated_date",
        "parent_job_id", "consensus_replicas",
    },
    "/api/labels/{label}": {
        "id", "name", "color", "attributes", "type", "sublabels", "project_id", "parent_id", "has_parent",
    },
    "/api/tasks/{task}/data/meta": {
        "chapters", "chunks_updated_date", "chunk_size", "size", "image_quality", "start_frame", "stop_frame",
        "frame_filter", "frames", "deleted_frames", "included_frames", "storage", "cloud_storage_id",
    },
    "/api/requests/action%3Dcreate%26target%3Dtask%26target_id%3D{task}": {
        "status", "message", "id", "operation", "progress", "created_date", "started_date", "finished_date",
        "expiry_date", "owner", "result_url", "result_id",
    },
    "/api/issues/{issue}": {
        "id", "frame", "position", "job", "owner", "assignee", "created_date", "updated_date", "resolved",
        "comments",
    },
    "/api/tasks/{task}/annotations": {"version", "tags", "shapes", "tracks"},
    "/api/auth/access_tokens/self": {
        "id", "name", "created_date", "updated_date", "expiry_date", "last_used_date", "read_only", "owner",
    },
    "/api/tasks": {"count", "next", "previous", "results"},
}  # fmt: skip
NO_DATA = {
    "data_chunk_size", "data_original_chunk_type", "data_compressed_chunk_type", "data_cloud_storage_id",
    "size", "image_quality", "data",
}  # fmt: skip
SHAPE = {
    "id", "label_id", "type", "frame", "group", "source", "occluded", "outside", "z_order", "rotation",
    "points", "attributes", "elements",
}  # fmt: skip


@pytest.fixture(scope="module")
def ids(client: Client, task: Any) -> dict[str, int]:
    job = task.get_jobs()[0].id
    issue = client.issues.create({"job": job, "frame": 0, "position": [1, 2], "message": "m"}).id
    label = task.get_labels()[0].id
    return {"project": task.project_id, "task": task.id, "job": job, "label": label, "issue": issue}


@pytest.mark.parametrize("path", KEYS)
def test_objects_have_cvats_keys(server: Server, ids: dict[str, int], path: str) -> None:
    assert set(server.raw("GET", path.format(**ids)).json()) == KEYS[path]


def test_a_task_without_data_has_no_size(server: Server, client: Client) -> None:
    made = client.tasks.create({"name": "t"})
    answer = server.raw("GET", f"/api/tasks/{made.id}").json()
    assert set(answer) == KEYS["/api/tasks/{task}"] - NO_DATA
    assert (answer["mode"], answer["segment_size"], answer["overlap"]) == ("", 0, None)


def test_shapes_have_cvats_keys(server: Server, ids: dict[str, int]) -> None:
    path = f"/api/jobs/{ids['job']}/annotations"
    sent = server.raw("PUT", path, json={"shapes": [shape(ids["label"])]}).json()
    assert set(sent["shapes"][0]) == set(server.raw("GET", path).json()["shapes"][0]) == SHAPE


# A server that stops


def test_a_restart_keeps_everything_and_the_token(tmp_path: Path) -> None:
    first = start(tmp_path / "state")
    with first.client() as client:
        task = make_task(client, tmp_path, ["a.png", "b.png"])
        task.set_annotations(labeled(shape(task.get_labels()[0].id, frame=1)))
        before = task.get_annotations().to_dict()
    first.stop()
    assert first.process.returncode == 0
    second = start(tmp_path / "state")
    try:
        assert (second.token, second.password) == (first.token, first.password)
        with second.client() as client:
            again = client.tasks.retrieve(task.id)
            assert again.get_annotations().to_dict() == before
            assert again.get_frame(1, quality="original").read() == png(value=1)
    finally:
        second.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_creation_that_was_cut_off_has_failed(tmp_path: Path, how: signal.Signals) -> None:
    first = start(tmp_path / "state", "--request-delay", "60")
    with first.client() as client:
        task = client.tasks.create({"name": "t"})
        archive = write_zip(tmp_path / "x.zip", {"a.png": png()})
        task.upload_data([archive], params=IMAGE_QUALITY, wait_for_completion=False)
        rq_id = f"action=create&target=task&target_id={task.id}"
        seen, _ = client.api_client.requests_api.retrieve(rq_id)
        assert seen.status.value in ("queued", "started")
    began = time.monotonic()
    first.stop(how)
    assert time.monotonic() - began < 10, "the end does not wait for the delay"
    second = start(tmp_path / "state")
    try:
        with second.client() as client:
            outcome, _ = client.api_client.requests_api.retrieve(rq_id)
            assert (outcome.status.value, "was stopped" in outcome.message) == ("failed", True)
            assert client.tasks.retrieve(task.id).get_jobs() == []
    finally:
        second.stop()


def test_a_background_request_takes_its_time_and_is_forgotten(tmp_path: Path) -> None:
    one = start(tmp_path / "state", "--request-delay", "0.3", "--request-expiry", "1")
    try:
        with one.client() as client:
            task = client.tasks.create({"name": "t"})
            archive = write_zip(tmp_path / "x.zip", {"a.png": png()})
            task.upload_data([archive], params=IMAGE_QUALITY, wait_for_completion=False)
        rq_id = f"action=create&target=task&target_id={task.id}"
        outcome = finished(one, rq_id)
        times = [datetime.fromisoformat(outcome[f"{event}_date"]) for event in ("started", "finished", "expiry")]
        assert times[1] - times[0] >= timedelta(seconds=0.3)
        assert (times[2] - times[1]).total_seconds() == pytest.approx(1, abs=0.01)
        time.sleep(1)
        gone = one.raw("GET", f"/api/requests/{rq_id}")
        assert (gone.status, gone.data) == (404, b"There is no request with specified id")
        assert one.raw("GET", "/api/requests").json()["count"] == 0
        assert one.raw("GET", f"/api/tasks/{task.id}").json()["size"] == 1
    finally:
        one.stop()


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "sandbox.db")) as database:
        database.execute("PRAGMA user_version = 1")
    command = [sys.executable, "-m", "annoloop.sandbox", "--state", str(tmp_path), "--port", "0"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (child.returncode, "has version 1" in child.stderr) == (3, True)


def test_one_folder_serves_one_sandbox(server: Server, state: Path) -> None:
    command = [sys.executable, "-m", "annoloop.sandbox", "--state", str(state), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (second.returncode, second.stdout) == (3, "")
    assert "another sandbox is using this folder" in second.stderr


# The pages


def test_a_mask_whose_runs_overflow_is_not_drawn_and_the_server_goes_on(
    server: Server, client: Client, tmp_path: Path
) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    label = task.get_labels()[0].id
    for points in ([2**62, 2**62, 2**62, 2**62 + 1024, 0, 0, 9, 9], [0, 2**60, 0, 0, 2**30, 2**30]):
        task.set_annotations(labeled(shape(label, points=list(map(float, points)))))
        signed = basic(f"{server.username}:{server.password}")
        assert server.raw("GET", f"/tasks/{task.id}/frames/0.jpg", headers=signed).status == 200


def test_pages_ask_for_the_password_and_show_masks(server: Server, client: Client, tmp_path: Path) -> None:
    task = make_task(client, tmp_path, ["a.png"])
    client.tasks.retrieve(task.id).update({"name": "<b>bold</b>"})
    full = [0.0, 600.0, 0.0, 0.0, 29.0, 19.0]
    task.set_annotations(labeled(shape(task.get_labels()[0].id, points=full)))
    asked = server.raw("GET", "/", headers={})
    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="annoloop sandbox"')
    signed = basic(f"{server.username}:{server.password}")
    page = server.raw("GET", f"/tasks/{task.id}", headers=signed).data.decode()
    assert "a stand-in for CVAT" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    picture = server.raw("GET", f"/tasks/{task.id}/frames/0.jpg", headers=signed).data
    red, green, blue = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).mean(axis=(0, 1))
    assert red > 110
    assert max(green, blue) < 20
    assert f'href="/tasks/{task.id}"' in server.raw("GET", "/", headers=signed).data.decode()
