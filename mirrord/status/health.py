"""How the service stands in, yes or no out: /healthz, whether its loops turn, and /readyz, whether it does its work."""

from collections.abc import Callable, Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mirrord.model.coverage import UNKNOWN
from mirrord.status.standing import MirrorStanding, Standing


def routes(standing: Callable[[], Standing]) -> list[BaseRoute]:
    """200 "ok", or 503 and a line for each reason."""

    async def healthz(_: Request) -> Response:
        return _answer([f"stuck: {mirror}" for mirror in standing().stuck])

    async def readyz(_: Request) -> Response:
        return _answer(list(_why_not_ready(standing())))

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def _answer(problems: list[str]) -> Response:
    text = "".join(f"{problem}\n" for problem in problems or ["ok"])
    return PlainTextResponse(text, 503 if problems else 200, {"Cache-Control": "no-store"})


def _why_not_ready(standing: Standing) -> Iterator[str]:
    """Short, and without what addresses and paths an error may name: whoever asks need not be trusted."""
    if standing.stopping:
        yield "stopping"
    if standing.trouble is not None:
        yield "the journal cannot be used"
    waiting = [each.mirror for each in standing.mirrors if not each.listening]
    yield from (f"starting: {mirror}: its source does not listen yet" for mirror in waiting)
    if not standing.ready and not waiting:
        yield "starting"
    yield from (f"{each.mirror}: its source cannot be seen whole" for each in standing.mirrors if _is_unavailable(each))


def _is_unavailable(standing: MirrorStanding) -> bool:
    """Whether some of the origin cannot be seen now. A source that can never tell if it was all is not at fault."""
    coverage = standing.coverage
    return coverage.lost_since is not None and not (coverage.lost_reason or "").startswith(UNKNOWN)
