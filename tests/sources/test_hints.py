"""The buffer between the thread that finds hints and the loop that drains them."""

from mirrord.sources.hints import Hint, HintBuffer, HintKind

WHOLE, TOUCHED, LOST = HintKind.WHOLE, HintKind.TOUCHED, HintKind.LOST


def test_the_buffer_wakes_once_between_two_drains() -> None:
    woken: list[int] = []
    buffer = HintBuffer(lambda: woken.append(1))

    for _ in range(2):
        buffer.add(WHOLE, "a")
        buffer.add(WHOLE, "b")
        buffer.drain()

    assert len(woken) == 2


def test_the_buffer_keeps_order_and_drops_what_was_just_said() -> None:
    buffer = HintBuffer(int)

    for kind, path in [(TOUCHED, "a"), (TOUCHED, "a"), (WHOLE, "a"), (TOUCHED, "b"), (TOUCHED, "a")]:
        buffer.add(kind, path)

    assert buffer.drain() == [Hint(TOUCHED, "a"), Hint(WHOLE, "a"), Hint(TOUCHED, "b"), Hint(TOUCHED, "a")]
    assert buffer.drain() == []


def test_a_full_buffer_leaves_one_loss_of_everything() -> None:
    buffer = HintBuffer(int, most=3)

    for path in "abcdefghi":
        buffer.add(WHOLE, path)
    lost = buffer.drain()
    buffer.add(WHOLE, "after")

    assert [(hint.kind, hint.path) for hint in lost] == [(LOST, "")]
    assert buffer.drain() == [Hint(WHOLE, "after")]
