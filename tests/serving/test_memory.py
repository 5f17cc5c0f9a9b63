"""The bounded memory of what was answered last."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from annoloop.serving.memory import Recent


@dataclass(frozen=True)
class Thing:
    size_bytes: int


def test_the_least_recently_used_goes_first() -> None:
    recent: Recent[Thing] = Recent(10)
    for name in "abc":
        recent.put(name, Thing(3))
    assert recent.get("a") == Thing(3)
    recent.put("d", Thing(4))
    assert [name for name in "abcd" if recent.get(name)] == ["a", "c", "d"]
    recent.put("e", Thing(11))
    assert recent.get("e") is None
    assert (len(recent), recent.size_bytes) == (3, 10)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12))))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    recent: Recent[Thing] = Recent(20)
    for name, size in puts:
        recent.put(name, Thing(size))
        held = [one for key in "abcdef" if (one := recent.get(key)) is not None]
        assert recent.size_bytes == sum(one.size_bytes for one in held) <= 20
        assert recent.get(name) == Thing(size)
