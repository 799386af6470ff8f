"""Whole files only: what is still being written is left alone until it is closed, or until the limit."""

from tests.e2e.place import Place, Program
from tests.sources.watching import writing


def _following(place: Place, settle: str, settle_limit: str) -> Program:
    """The service, once it has scanned: what comes now, the watch alone has told it."""
    place.configure({"source": {"settle": settle, "settle_limit": settle_limit}})
    service = place.run()
    service.until_said("scan.finished")
    return service


def _refresh_another(place: Place, service: Program, key: str) -> None:
    """On return a file that was written now is refreshed: so is all that settled before it."""
    place.write(key)
    service.until_said("refresh.attempted", key=key)


def _asked(place: Place, key: str) -> int:
    return sum(call["key"] == key for call in place.kodo.calls("prefetch"))


def test_a_slow_writer_is_not_pulled_before_it_closed(place: Place) -> None:
    service = _following(place, "100ms", "60s")

    with writing(place.www / "slow.txt") as slow:
        _refresh_another(place, service, "while-empty.txt")
        slow.write("a chunk, ")
        _refresh_another(place, service, "after-a-chunk.txt")
        slow.write("and more")
        _refresh_another(place, service, "after-more.txt")
        asked_while_open = _asked(place, "slow.txt")
        slow.close()
        service.until_said("refresh.attempted", key="slow.txt")
    _refresh_another(place, service, "after-the-close.txt")

    assert asked_while_open == 0
    assert _asked(place, "slow.txt") == 1
    assert place.kodo.read("docs", "slow.txt") == b"a chunk, and more"


def test_a_file_that_is_rewritten_slowly_keeps_its_old_copy_until_then(place: Place) -> None:
    place.write("slow.txt", "old, ")
    service = _following(place, "100ms", "60s")
    service.until_said("refresh.attempted", key="slow.txt")

    with writing(place.www / "slow.txt") as slow:
        slow.write("and new")
        _refresh_another(place, service, "after-a-chunk.txt")
        copy_while_open = place.kodo.read("docs", "slow.txt")
    place.until_equal(service, {"slow.txt"})

    assert copy_while_open == b"old, "
    assert _asked(place, "slow.txt") == 2


def test_a_file_that_is_never_closed_is_refreshed_once_in_each_limit(place: Place) -> None:
    service = _following(place, "100ms", "1s")

    with writing(place.www / "open.log") as still_open:
        still_open.write("one, ")
        service.until_said("refresh.attempted", key="open.log")
        first_copy = place.kodo.read("docs", "open.log")
        still_open.write("two")
        attempts = service.until_said("refresh.attempted", 2, key="open.log")
        second_copy = place.kodo.read("docs", "open.log")

    assert (first_copy, second_copy) == (b"one, ", b"one, two")
    assert [attempt["lag_s"] >= 1.0 for attempt in attempts] == [True, True]


def test_a_file_that_is_appended_to_all_the_time_is_refreshed_all_the_same(place: Place) -> None:
    service = _following(place, "100ms", "1s")

    with writing(place.www / "busy.log") as busy:
        busy.keep_writing()
        first, *_ = service.until_said("refresh.attempted", 2, key="busy.log")
        busy.write("the last line")
    place.until_equal(service, {"busy.log"})

    assert first["lag_s"] >= 1.0
