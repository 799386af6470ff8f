"""What was counted, how the service stands and what the journal says in, Prometheus' text out, at /metrics."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.report import MirrorReport
from mirrord.status.families import Families, Reported
from mirrord.status.journaled import JournalView
from mirrord.status.meters import Meters
from mirrord.status.standing import Standing

PATIENCE = timedelta(seconds=5)
"""How long a scrape waits for a report before it takes the one before: Prometheus itself gives up after ten."""


def routes(
    standing: Callable[[], Standing],
    view: JournalView,
    meters: Meters,
    now: Callable[[], datetime],
    *,
    patience: timedelta = PATIENCE,
) -> list[BaseRoute]:
    """In the form that whoever asks prefers; also while the journal cannot be used, or takes long."""

    async def metrics(request: Request) -> Response:
        mirrors = [each.mirror for each in standing().mirrors]
        reported, available = await _asked(view, mirrors, patience)
        families = Families(meters, standing(), reported, now(), available=available)
        encode, content_type = _encoder(request.headers.get("accept", ""))
        return Response(encode(families), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return [Route("/metrics", metrics)]


def exposition(meters: Meters, standing: Standing, reported: Reported | None, now: datetime) -> bytes:
    """As plain text; `reported` None: the journal cannot be read, and what only it knows is left out."""
    return generate_latest(Families(meters, standing, reported, now, available=reported is not None))


async def _asked(view: JournalView, mirrors: Sequence[str], patience: timedelta) -> tuple[Reported | None, bool]:
    """What the journal says, and whether it says anything."""
    try:
        async with asyncio.timeout(patience.total_seconds()):
            reports: Sequence[MirrorReport] | None = await view.reports(mirrors)
    except JournalUnavailable:
        return None, False
    except TimeoutError:
        reports = view.last(mirrors)
    at = view.reported_at
    return (None if reports is None or at is None else Reported(reports=reports, at=at)), True


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # of a version that is no number the library makes a comparison that Python refuses
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
