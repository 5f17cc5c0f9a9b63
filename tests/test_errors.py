"""The error tree: one exit code per branch, and words that say where and what next."""

from __future__ import annotations

import pickle

import pytest

from annoloop import errors
from annoloop.errors import (
    AnnoloopError,
    ConfigError,
    CvatError,
    DataError,
    MissingExtraError,
    OutOfMemoryError,
    check_argument,
)
from annoloop.progress import silent

EXIT_CODES = {
    "AnnoloopError": 70,
    "ConfigError": 3,
    "DataError": 4,
    "ColourMaskError": 4,
    "NothingToPushError": 4,
    "LedgerError": 5,
    "CvatError": 6,
    "TrainingError": 7,
    "OutOfMemoryError": 7,
    "MissingExtraError": 8,
    "MissingPackageError": 8,
    "GateError": 9,
    "StoreError": 10,
    "FileError": 74,
    "Interrupted": 130,
}


def _tree() -> dict[str, type[AnnoloopError]]:
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if issubclass(value, AnnoloopError)}


def test_every_kind_has_its_exit_code() -> None:
    assert {name: kind.exit_code for name, kind in _tree().items()} == EXIT_CODES


def test_the_drawing_names_every_kind_with_its_code() -> None:
    drawing = errors.__doc__ or ""
    for name, code in EXIT_CODES.items():
        line = next(line for line in drawing.splitlines() if name in line)
        assert name == "AnnoloopError" or line.split(name)[1].split()[0] == str(code)


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        (None, None, "it broke"),
        ("a.png", None, "a.png: it broke"),
        ("a.png", "mend it", "a.png: it broke\n  hint: mend it"),
        (None, "mend it", "it broke\n  hint: mend it"),
    ],
)
def test_an_error_says_where_what_and_what_next(where: str | None, hint: str | None, text: str) -> None:
    assert str(DataError("it broke", where=where, hint=hint)) == text


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtraError("fiftyone", "app")
    assert str(error) == f"fiftyone is not installed\n  hint: {errors.install_command('app')}"
    assert error.extra == "app"


def test_a_cvat_error_carries_the_http_status() -> None:
    assert CvatError("no", status=403).status == 403
    assert CvatError("no").status is None


@pytest.mark.parametrize("kind", _tree().values())
def test_an_error_survives_a_process_border_whole(kind: type[AnnoloopError]) -> None:
    error: AnnoloopError
    if kind is MissingExtraError:
        error = MissingExtraError("fiftyone", "app")
    elif kind is OutOfMemoryError:
        error = OutOfMemoryError("it broke", 4, where="a.png", hint="mend it")
    else:
        error = kind("it broke", where="a.png", hint="mend it")
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is kind
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_silent_progress_is_iter() -> None:
    items = silent([1, 2, 3], "counting")
    assert next(items) == 1
    assert list(items) == [2, 3]


def test_an_argument_that_cannot_be_is_named_with_what_is_allowed() -> None:
    check_argument("worst", 1, True, "1 or more")
    with pytest.raises(ConfigError, match="worst: 0 is not 1 or more"):
        check_argument("worst", 0, False, "1 or more")
