"""Rows as the JSON objects that CVAT sends: the same keys, the same nulls, the same URLs.

What the sandbox does not have (storages, consensus) is null or empty, as on a server where nobody
uses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annoloop.sandbox.store import Row, Store

VERSION = "2.54.1"
"""The version of CVAT that the sandbox speaks like."""

NAME = "annoloop sandbox, a stand-in for CVAT"

_STORAGES = {"target_storage": None, "source_storage": None}


def request_id(task_id: int) -> str:
    """The name under which a client polls the creation of a task's frames."""
    return f"action=create&target=task&target_id={task_id}"


def about(base_url: str) -> Row:
    """``/api/server/about``."""
    return {
        "name": NAME,
        "description": f"{NAME}: for trying and testing annoloop on this machine. It is not CVAT.",
        "version": VERSION,
        "logo_url": f"{base_url}/static/logo.svg",
        "subtitle": "a stand-in, not CVAT",
    }


@dataclass(frozen=True, slots=True)
class Answers:
    """The rendering for one request: where the server is, and who its users are."""

    base_url: str
    people: Mapping[int, Row]

    @classmethod
    def of(cls, store: Store, base_url: str) -> Answers:
        """For the users of a store, on a server at ``base_url``."""
        return cls(base_url, {user["id"]: user for user in store.select("users")})

    def _url(self, path: str) -> str:
        return f"{self.base_url}/api/{path}"

    def person(self, user_id: int | None) -> Row | None:
        """A user as owner or assignee of something."""
        if user_id is None:
            return None
        user = self.people[user_id]
        names = {key: user[key] for key in ("id", "username", "first_name", "last_name")}
        return {"url": self._url(f"users/{user_id}"), **names}

    def user(self, row: Row) -> Row:
        """A user in full."""
        staff = bool(row["is_staff"])
        return {
            "url": self._url(f"users/{row['id']}"),
            **{key: row[key] for key in ("id", "username", "first_name", "last_name", "email")},
            "groups": ["admin" if staff else "user"],
            "is_staff": staff,
            "is_superuser": staff,
            "is_active": bool(row["is_active"]),
            "last_login": row["last_login"],
            "date_joined": row["date_joined"],
            "has_analytics_access": staff,
        }

    def access_token(self, row: Row) -> Row:
        """An access token, without its value."""
        keys = ("id", "name", "created_date", "updated_date", "expiry_date", "last_used_date")
        return {
            **{key: row[key] for key in keys},
            "read_only": bool(row["read_only"]),
            "owner": self.person(row["user_id"]),
        }

    def organization(self, row: Row) -> Row:
        """An organization."""
        keys = ("id", "slug", "name", "description", "created_date", "updated_date")
        return {**{key: row[key] for key in keys}, "contact": {}, "owner": self.person(row["owner_id"])}

    def project(self, row: Row) -> Row:
        """A project: a row of ``project_rows``."""
        keys = ("id", "name", "guide_id", "bug_tracker", "created_date", "updated_date", "status")
        return {
            "url": self._url(f"projects/{row['id']}"),
            **{key: row[key] for key in keys},
            "owner": self.person(row["owner_id"]),
            "assignee": self.person(row["assignee_id"]),
            "assignee_updated_date": row["assignee_updated_date"],
            "dimension": "2d" if row["task_count"] else None,
            "organization": row["organization_id"],
            "organization_id": row["organization_id"],
            **_STORAGES,
            "tasks": {"count": row["task_count"], "url": self._url(f"tasks?project_id={row['id']}")},
            "labels": {"url": self._url(f"labels?project_id={row['id']}")},
            "task_subsets": sorted(row["subsets"].split(",")) if row["subsets"] else [],
        }

    def task(self, row: Row) -> Row:
        """A task: a row of ``task_rows``. One without frames has no ``size``."""
        keys = (
            "id", "name", "project_id", "mode", "bug_tracker", "created_date", "updated_date", "overlap",
            "segment_size", "status", "guide_id", "dimension", "subset", "assignee_updated_date",
        )  # fmt: skip
        return {
            "url": self._url(f"tasks/{row['id']}"),
            **{key: row[key] for key in keys},
            **(self._task_data(row) if row["size"] is not None else {}),
            "owner": self.person(row["owner_id"]),
            "assignee": self.person(row["assignee_id"]),
            "organization": row["organization_id"],
            "organization_id": row["organization_id"],
            **_STORAGES,
            "jobs": {
                "count": row["job_count"],
                "completed": row["completed_count"],
                "validation": row["validation_count"],
                "url": self._url(f"jobs?task_id={row['id']}"),
            },
            "labels": {"url": self._url(f"labels?task_id={row['id']}")},
            "validation_mode": None,
            "consensus_enabled": row["consensus_replicas"] > 0,
        }

    @staticmethod
    def _task_data(row: Row) -> Row:
        return {
            "data_chunk_size": row["chunk_size"],
            "data_original_chunk_type": "imageset",
            "data_compressed_chunk_type": "imageset",
            "data_cloud_storage_id": None,
            "size": row["size"],
            "image_quality": row["image_quality"],
            "data": row["id"],
        }

    def job(self, row: Row) -> Row:
        """A job: a row of ``job_rows``."""
        keys = (
            "id", "task_id", "project_id", "guide_id", "dimension", "bug_tracker", "status", "stage",
            "state", "mode", "start_frame", "stop_frame", "created_date", "updated_date", "type",
            "assignee_updated_date",
        )  # fmt: skip
        return {
            "url": self._url(f"jobs/{row['id']}"),
            **{key: row[key] for key in keys},
            "assignee": self.person(row["assignee_id"]),
            "frame_count": row["stop_frame"] - row["start_frame"] + 1,
            "data_chunk_size": row["chunk_size"],
            "data_compressed_chunk_type": "imageset",
            "data_original_chunk_type": "imageset",
            "issues": {"url": self._url(f"issues?job_id={row['id']}"), "count": row["issue_count"]},
            "labels": {"url": self._url(f"labels?job_id={row['id']}")},
            "organization": row["organization_id"],
            **_STORAGES,
            "parent_job_id": row["parent_job_id"],
            "consensus_replicas": row["replica_count"],
        }

    @staticmethod
    def label(row: Row) -> Row:
        """A label; it names its project or its task, never both."""
        owner = "task_id" if row["project_id"] is None else "project_id"
        return {
            **{key: row[key] for key in ("id", "name", "color", "type", owner)},
            "attributes": json.loads(row["attributes"]),
            "sublabels": [],
            "parent_id": None,
            "has_parent": False,
        }

    def issue(self, row: Row) -> Row:
        """An issue: a row of ``issue_rows``."""
        return {
            **{key: row[key] for key in ("id", "frame", "created_date", "updated_date")},
            "position": json.loads(row["position"]),
            "job": row["job_id"],
            "owner": self.person(row["owner_id"]),
            "assignee": self.person(row["assignee_id"]),
            "resolved": bool(row["resolved"]),
            "comments": {"count": row["comment_count"], "url": self._url(f"comments?issue_id={row['id']}")},
        }

    def comment(self, row: Row) -> Row:
        """A comment: a row of ``comment_rows``."""
        return {
            **{key: row[key] for key in ("id", "message", "created_date", "updated_date")},
            "issue": row["issue_id"],
            "owner": self.person(row["owner_id"]),
        }

    @staticmethod
    def guide(row: Row) -> Row:
        """An annotation guide; its dates are not told."""
        return {key: row[key] for key in ("id", "markdown", "project_id", "task_id")}

    @staticmethod
    def request(row: Row) -> Row:
        """A background request: what is polled until it says finished or failed."""
        return {
            **{
                key: row[key]
                for key in ("status", "message", "created_date", "started_date", "finished_date", "expiry_date")
            },
            "id": request_id(row["task_id"]),
            "operation": {
                "type": "create:task",
                "target": "task",
                "project_id": row["project_id"],
                "task_id": row["task_id"],
                "job_id": None,
                "format": None,
                "lightweight": None,
            },
            "progress": 0.0,
            "owner": {"id": row["owner_id"], "username": row["owner"]},
            "result_url": None,
            "result_id": None,
        }


def frames_meta(task: Row, frames: Sequence[Row], start: int, stop: int) -> Row:
    """``data/meta`` of a task or of one of its jobs: its frames in order, start to stop inclusive."""
    return {
        "chapters": None,
        "chunks_updated_date": task["chunks_updated_date"],
        "chunk_size": task["chunk_size"],
        "size": len(frames),
        "image_quality": task["image_quality"],
        "start_frame": start,
        "stop_frame": stop,
        "frame_filter": "",
        "frames": [_frame(row) for row in frames],
        "deleted_frames": [row["number"] for row in frames if row["deleted"]],
        "included_frames": None,
        "storage": "local",
        "cloud_storage_id": None,
    }


def _frame(row: Row) -> Row:
    related = len(json.loads(row["related"]))
    return {
        **{key: row[key] for key in ("width", "height", "name")},
        "related_files": related,
        "has_related_context": related > 0,
    }
