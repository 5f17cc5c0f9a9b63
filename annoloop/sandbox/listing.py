"""Lists as CVAT serves them: simple filters, search, JSON Logic, sort, pages.

Works on rows that are in memory: a sandbox holds hundreds of tasks, not millions. The keys that a
filter may name are a row's columns as listed in a ``Terms``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from annoloop.sandbox.refusals import Refusal, invalid
from annoloop.sandbox.store import Row

PAGE_SIZE = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What one kind of list can be filtered, searched and sorted by."""

    simple: tuple[str, ...]
    logic: tuple[str, ...]
    search: tuple[str, ...] = ()
    sort: str = "-id"


def listed(rows: Sequence[Row], terms: Terms, query: Mapping[str, str], url: str, render: Callable[[Row], Row]) -> Row:
    """One page of ``rows`` as ``{count, next, previous, results}``.

    Args:
        url: of the list, without the query.
        render: from a row to its JSON object; called for the page's rows only.

    Raises:
        Refusal: 400 for a filter that makes no sense, 404 for a page that does not exist.
    """
    chosen = _sorted(_chosen(rows, terms, query), terms, query.get("sort") or terms.sort)
    size = _page_size(query.get("page_size"), len(chosen))
    last = max(1, -(-len(chosen) // size))
    page = _page_number(query.get("page"), last)
    return {
        "count": len(chosen),
        "next": _link(url, query, page + 1) if page < last else None,
        "previous": _link(url, query, page - 1) if page > 1 else None,
        "results": [render(row) for row in chosen[(page - 1) * size : page * size]],
    }


def _chosen(rows: Sequence[Row], terms: Terms, query: Mapping[str, str]) -> list[Row]:
    kept = list(rows)
    for key in terms.simple:
        if query.get(key):
            kept = [row for row in kept if _matches(row[key], query[key])]
    if query.get("search"):
        needle = query["search"].casefold()
        kept = [row for row in kept if any(needle in str(row[key]).casefold() for key in terms.search)]
    if query.get("filter"):
        rule = _parsed(query["filter"])
        kept = [row for row in kept if bool(_value(rule, row, terms))]
    return kept


def _matches(value: object, text: str) -> bool:
    if isinstance(value, int) and text in ("true", "false"):
        return bool(value) == (text == "true")
    return value is not None and str(value) == text


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise invalid(f"filter: can't parse filter expression: {error}") from None


def _value(rule: object, row: Row, terms: Terms) -> Any:
    """The value of a JSON Logic expression for one row."""
    if not isinstance(rule, dict):
        return rule
    if len(rule) != 1:
        raise invalid("filter: an expression must have exactly one operator")
    operator, given = next(iter(rule.items()))
    arguments = given if isinstance(given, list) else [given]
    if operator == "var":
        return _variable(arguments, row, terms)
    if operator not in _OPERATORS:
        raise invalid(f"filter: operator '{operator}' is not supported")
    # a list among the arguments, as in {"in": [{"var": "id"}, [1, 2]]}, stands for itself
    values = [_value(argument, row, terms) for argument in arguments]
    try:
        return _OPERATORS[operator](values)
    except (TypeError, IndexError):
        raise invalid(f"filter: wrong arguments of '{operator}'") from None


def _variable(arguments: list[Any], row: Row, terms: Terms) -> Any:
    name = arguments[0] if arguments else None
    if name not in terms.logic:
        raise invalid(f"filter: term '{name}' is not supported")
    return row[name]


def _ordered(values: list[Any], compare: Callable[[Any, Any], bool]) -> bool:
    # three arguments mean between, as in {"<=": [1, {"var": "id"}, 9]}
    if any(value is None for value in values):
        return False
    return all(compare(a, b) for a, b in pairwise(values))


_OPERATORS: Mapping[str, Callable[[list[Any]], Any]] = {
    "==": lambda v: v[0] == v[1],
    "and": all,
    "or": any,
    "!": lambda v: not v[0],
    "in": lambda v: v[1] is not None and v[0] in v[1],
    "<": lambda v: _ordered(v, lambda a, b: bool(a < b)),
    "<=": lambda v: _ordered(v, lambda a, b: bool(a <= b)),
    ">": lambda v: _ordered(v, lambda a, b: bool(a > b)),
    ">=": lambda v: _ordered(v, lambda a, b: bool(a >= b)),
}


def _sorted(rows: list[Row], terms: Terms, order: str) -> list[Row]:
    for key in reversed(order.split(",")):
        name = key.strip().lstrip("-")
        if name not in terms.logic:
            continue
        rows = sorted(rows, key=lambda row: _sort_key(row[name]), reverse=key.strip().startswith("-"))
    return rows


def _sort_key(value: object) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)


def _page_size(text: str | None, count: int) -> int:
    if text == "all":
        return max(1, count)
    return int(text) if text and text.isdecimal() and int(text) > 0 else PAGE_SIZE


def _page_number(text: str | None, last: int) -> int:
    if text is None or text == "":
        return 1
    if not text.isdecimal() or not 1 <= int(text) <= last:
        raise Refusal(404, {"detail": "Invalid page."})
    return int(text)


def _link(url: str, query: Mapping[str, str], page: int) -> str:
    # as CVAT's: sorted, and the first page has no number
    rest = {key: value for key, value in query.items() if key != "page"}
    if page > 1:
        rest["page"] = str(page)
    return f"{url}?{urlencode(sorted(rest.items()))}" if rest else url


TASKS = Terms(
    simple=("name", "project_id", "project_name", "status", "assignee", "owner", "mode", "dimension",
            "subset"),
    logic=("id", "name", "project_id", "project_name", "status", "assignee", "owner", "mode", "dimension",
           "subset", "updated_date"),
    search=("name", "owner", "status", "assignee", "subset", "mode", "dimension", "project_name"),
)  # fmt: skip
JOBS = Terms(
    simple=("task_id", "task_name", "project_id", "project_name", "state", "stage", "assignee", "type",
            "dimension", "mode"),
    logic=("id", "task_id", "task_name", "project_id", "project_name", "state", "stage", "status",
           "assignee", "type", "dimension", "mode", "updated_date"),
    search=("task_name", "project_name", "assignee", "state", "stage"),
)  # fmt: skip
PROJECTS = Terms(
    simple=("name", "owner", "assignee", "status"),
    logic=("id", "name", "owner", "assignee", "status", "updated_date"),
    search=("name", "owner", "assignee", "status"),
)
LABELS = Terms(
    simple=("name", "color", "type"),
    logic=("id", "name", "color", "type", "project_id", "task_id"),
    search=("name",),
    sort="id",
)
ISSUES = Terms(
    simple=("job_id", "task_id", "frame_id", "owner", "assignee", "resolved"),
    logic=("id", "job_id", "task_id", "frame_id", "owner", "assignee", "resolved", "created_date",
           "updated_date"),
    search=("owner", "assignee"),
)  # fmt: skip
COMMENTS = Terms(
    simple=("issue_id", "job_id", "frame_id", "owner"),
    logic=("id", "issue_id", "job_id", "frame_id", "owner", "created_date", "updated_date"),
    search=("owner", "message"),
)
ORGANIZATIONS = Terms(
    simple=("slug", "name"),
    logic=("id", "slug", "name", "updated_date"),
    search=("slug", "name"),
)
USERS = Terms(
    simple=("username", "first_name", "last_name", "is_active"),
    logic=("id", "username", "first_name", "last_name", "email", "is_active"),
    search=("username", "first_name", "last_name"),
)
REQUESTS = Terms(
    simple=("status", "project_id", "task_id"),
    logic=("id", "status", "project_id", "task_id", "created_date"),
    sort="-created_date",
)
