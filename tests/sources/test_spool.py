"""Keys set aside on disk: all of them come back, in order, in any batches, whatever they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.sources.spool import Spool

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@given(st.lists(KEYS, max_size=30), st.integers(1, 40))
def test_every_key_comes_back_once_and_in_order(keys: list[str], most: int) -> None:
    with Spool() as spool:
        for key in keys:
            spool.add(key)

        batches = list(spool.batches(most))

    assert [key for batch in batches for key in batch] == keys
    assert all(0 < len(batch) <= most for batch in batches)
    assert all(len(batch) == most for batch in batches[:-1])


@pytest.mark.parametrize("count", [0, 1, 30_000])  # more than is read at once
def test_it_knows_how_many_it_has(count: int) -> None:
    keys = [f"{number:05}/中😀" for number in range(count)]
    with Spool() as spool:
        for key in keys:
            spool.add(key)

        read = [key for batch in spool.batches(1000) for key in batch]

        assert (len(spool), bool(spool)) == (count, count > 0)
        assert read == keys
