"""Cursors that a feed led to before it was caught up: whether it gets any further, and how large a page may help."""

WIDEST = 64
REMEMBERED = 1000
"""Cursors: a feed that leads back to one of them goes in circles."""


class Course:
    """From one time that a feed was caught up to the next."""

    def __init__(self) -> None:
        self.widen = 1
        """So many times as large as usual the next page should be."""
        self.stuck = False
        """Whether it was said already that it does not get any further."""
        self._passed: dict[int, None] = {}
        """Hashes: a cursor may be as long as a document."""

    def leads_nowhere(self, cursor: str | None, *, moved: bool, brought: bool) -> bool:
        """Whether an answer that ends at `cursor`, with more to come, does not help even as a larger page.

        `moved`: it was another cursor that was asked with. `brought`: there were entries in it.
        """
        in_circles = moved and hash(cursor) in self._passed
        self._passed[hash(cursor)] = None
        if len(self._passed) > REMEMBERED:
            del self._passed[next(iter(self._passed))]
        if moved and not in_circles:
            self.widen = 1
            return False
        if in_circles or not brought or self.widen >= WIDEST:
            return True
        self.widen *= 2
        return self.widen > 2

    def begin_anew(self) -> None:
        """The cursors so far mean nothing any more."""
        self.widen = 1
        self._passed.clear()

    def arrive(self) -> None:
        """It is caught up."""
        self.begin_anew()
        self.stuck = False
