"""What the journal keeps of a feed comes back as it was."""

from hypothesis import given
from hypothesis import strategies as st

from mirrord.sources.feed.place import Place, place_of

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, st.booleans(), TEXTS, TEXTS)
def test_a_place_survives_the_journal(
    cursor: str | None, counting: bool, rules: str | None, unknown: str | None
) -> None:
    place = Place(cursor=cursor, counting=counting, rules=rules, unknown=unknown)

    assert place_of(place.text()) == place


def test_a_place_of_an_earlier_service_knows_no_rules() -> None:
    assert place_of('{"cursor":"5"}') == Place(cursor="5", rules=None)
