"""A cursor and the history that it is of, as one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.sources.feed.spot import Spot, spot_of

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not text.startswith("\x01"))


@given(TEXTS, TEXTS)
def test_a_spot_survives_being_written(cursor: str | None, history: str | None) -> None:
    spot = Spot(cursor, history)

    assert spot_of(spot.text()) == spot


@pytest.mark.parametrize("cursor", [None, "", "5", '"now"', '{"seq":5}', "[1]"])
def test_without_a_history_it_is_the_cursor_itself(cursor: str | None) -> None:
    assert Spot(cursor).text() == cursor


def test_the_beginning_of_a_history_is_not_the_beginning_of_any() -> None:
    assert Spot(None, "1").text() is not None
