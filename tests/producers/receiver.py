"""Who takes what senders of webhooks post, where there is no mirrord."""

import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

import httpx
from aiohttp import web

from tests.producers.process import PATIENCE_S
from tests.producers.webhook import Webhook
from tests.servers import running_app


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: httpx.Headers
    body: bytes


@dataclass
class Receiver:
    """Takes what is posted; the first answers are `statuses`, all others 204."""

    statuses: list[int]
    deliveries: list[Delivery] = field(default_factory=list)
    heads: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.route("*", "/{rest:.*}", self._take)])
        return app

    def until(self, deliveries: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.deliveries) >= deliveries, PATIENCE_S), self.deliveries

    def until_told(self, happenings: int) -> list[tuple[str, bool]]:
        """Wait until they have been told of, some perhaps twice."""
        with self._news:
            assert self._news.wait_for(lambda: len(dict.fromkeys(self._told())) >= happenings, PATIENCE_S)
            return [(key, there) for key, there, _ in self._told()]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        with self._news:
            if request.method == "HEAD":
                self.heads += 1
                return web.Response()
            self.deliveries.append(Delivery(request.path, httpx.Headers(dict(request.headers)), body))
            self._news.notify_all()
            return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    def _told(self) -> Iterator[tuple[str, bool, str]]:
        """Key, whether it is there, and what tells one happening from another."""
        for delivery in self.deliveries:
            if "ce-subject" in delivery.headers:
                headers = delivery.headers
                yield unquote(headers["ce-subject"]), "deleted" not in headers["ce-type"], headers["ce-id"]
                continue
            body = json.loads(delivery.body)
            for event in body if isinstance(body, list) else [body]:
                if "Records" in event:
                    thing = event["Records"][0]["s3"]["object"]
                    yield unquote_plus(thing["key"]), "Created" in event["EventName"], thing["sequencer"]
                else:
                    yield event["subject"], "deleted" not in event["type"], event["id"]


@contextmanager
def receiving(producer: Webhook, statuses: list[int] | None = None) -> Iterator[Receiver]:
    """Somebody listens where the producer's settings say that mirrord does."""
    listen = tomllib.loads(producer.settings())["listen"]
    receiver = Receiver(statuses or [])
    with running_app(receiver.application, port=int(listen.rpartition(":")[2])):
        yield receiver
