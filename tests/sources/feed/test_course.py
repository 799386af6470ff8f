"""Whether a feed that says that it has more leads there."""

from mirrord.sources.feed.course import REMEMBERED, WIDEST, Course


def test_new_cursors_lead_on() -> None:
    course = Course()

    assert not any(course.leads_nowhere(f"{n}", moved=True, brought=True) for n in range(10 * REMEMBERED))
    assert course.widen == 1


def test_a_page_that_does_not_move_is_widened_once_before_it_is_in_vain() -> None:
    course = Course()

    found = [course.leads_nowhere("5", moved=False, brought=True) for _ in range(8)]

    assert found == [False, *[True] * 7]
    assert course.widen == WIDEST


def test_an_empty_page_is_not_widened() -> None:
    course = Course()

    assert course.leads_nowhere("5", moved=False, brought=False)
    assert course.widen == 1


def test_a_page_that_moves_again_is_of_the_usual_size() -> None:
    course = Course()

    course.leads_nowhere("5", moved=False, brought=True)
    course.leads_nowhere("6", moved=True, brought=True)

    assert course.widen == 1


def test_what_leads_back_leads_nowhere_until_it_was_caught_up_or_begins_anew() -> None:
    course = Course()
    course.leads_nowhere("a", moved=True, brought=True)
    course.leads_nowhere("b", moved=True, brought=True)

    assert course.leads_nowhere("a", moved=True, brought=True)
    course.begin_anew()
    assert not course.leads_nowhere("a", moved=True, brought=True)
    course.arrive()
    assert not course.leads_nowhere("a", moved=True, brought=True)
