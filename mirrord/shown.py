"""A running service to what it shows of itself: the page, metrics and health, at `status.listen`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mirrord import log
from mirrord.daemon import Service
from mirrord.doors import Doors
from mirrord.settings import Settings
from mirrord.status import health, metrics, site
from mirrord.status.access import Access
from mirrord.status.journaled import JournalView
from mirrord.status.meters import Meters
from mirrord.status.recent import Recent

OWNER = ""
"""No mirror's name."""


def show(service: Service, settings: Settings, doors: Doors, meters: Meters, now: Callable[[], datetime]) -> None:
    """Serve it from the start on. From now on the log's lines are counted, and the last ones kept."""
    recent = Recent(now)

    def hear(level: str, fields: Mapping[str, Any]) -> None:
        meters.hear(level, fields)
        recent.hear(level, fields)

    log.listen_to(hear)
    view = JournalView(settings.journal.url, now=now)
    token = settings.status.token
    routes = site.routes(
        standing=service.standing,
        view=view,
        recent=recent,
        access=Access(None if token is None else token.get_secret_value()),
        masked=log.masked,
        journal=service.journal,
        now=now,
        also=[*metrics.routes(service.standing, view, meters, now), *health.routes(service.standing)],
    )
    doors.open(settings.status.listen, OWNER, routes)
