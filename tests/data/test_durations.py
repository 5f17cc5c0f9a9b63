"""Durations as people write and read them."""

from __future__ import annotations

import pytest

from annoloop.data.durations import in_words, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("0.5h", 1800), ("1d", 86400)]
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "0m", "-5m", "5 minutes", "1m1h", "1..5h", "."])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration like"):
        seconds_of(text)


@pytest.mark.parametrize(("seconds", "words"), [(4.2, "4 s"), (119, "119 s"), (432, "7.2 min"), (2.2e6, "25.5 days")])
def test_what_people_read(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
