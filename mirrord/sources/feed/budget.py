"""Time that may be waited in all; awaited things within it, and the end of it as an exception."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta


class Spent(Exception):
    """Something was not over within `limit`."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__()
        self.limit = limit


class Budget:
    """Only what is awaited within `waiting` counts, not what is done in between."""

    def __init__(self, whole: timedelta | None) -> None:
        """None: there is no end to it."""
        self._whole = whole
        self._waited = timedelta(0)

    @asynccontextmanager
    async def waiting(self, most: timedelta | None = None) -> AsyncIterator[None]:
        """Raises Spent when there is nothing left, or after `most`."""
        limit, ends = most, most
        if self._whole is not None and (most is None or self._whole - self._waited < most):
            limit, ends = self._whole, self._whole - self._waited
        began = time.monotonic()
        try:
            async with asyncio.timeout(None if ends is None else ends.total_seconds()) as timer:
                yield
        except TimeoutError:
            if limit is None or not timer.expired():  # somebody else's
                raise
            raise Spent(limit) from None
        finally:
            self._waited += timedelta(seconds=time.monotonic() - began)
