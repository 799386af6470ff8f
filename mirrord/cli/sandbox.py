"""`mirrord sandbox`: a local Kodo on loopback, and a config to use with it."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from mirrord.sandbox.calls import Call
    from mirrord.sandbox.faults import Fault
    from mirrord.sandbox.operations import PrefetchReply
    from mirrord.sandbox.serve import Sandbox
    from mirrord.sandbox.throttle import Throttle

_SERVICES = ("uc", "io", "rs", "rsf", "api", "fusion")


def _one_of_two(value: str) -> "PrefetchReply":
    match value:
        case "empty" | "object":
            return value
        case _:
            raise typer.BadParameter(f"{value!r} is neither empty nor object")


def sandbox(  # noqa: PLR0917 - an option each
    origin: Annotated[
        list[str],
        typer.Option(metavar="BUCKET=URL", help="A bucket and its mirror source; BUCKET= has none. Repeatable."),
    ],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Port 0 takes a free one.")] = "127.0.0.1:9471",
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where objects are kept. Default: a new temporary directory.")
    ] = None,
    access_key: Annotated[str, typer.Option(metavar="AK")] = "sandbox-access-key",
    secret_key: Annotated[str, typer.Option(metavar="SK")] = "sandbox-secret-key",  # noqa: S107 - no secret
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATION:STATUS[:PROBABILITY]",
            help="Let calls fail, like prefetch:478:0.1; the status can be drop, cut, html or stale. Repeatable.",
        ),
    ] = None,
    prefetch_reply: Annotated[
        str, typer.Option(metavar="empty|object", help="What a prefetch answers on success.")
    ] = "empty",
    throttle: Annotated[
        str | None,
        typer.Option(metavar="N[:STATUS]", help="Refuse pulls beyond N per second with STATUS, else 573."),
    ] = None,
    io_domain: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Discovery names this for pulls, not --listen. Repeatable, in order."),
    ] = None,
    skew: Annotated[float, typer.Option(metavar="SECONDS", help="Put the server's clock ahead by so much.")] = 0.0,
    frozen: Annotated[bool, typer.Option("--frozen", help="Answer every signed call with 419.")] = False,
) -> None:
    """Run a local Kodo and print a config to use with it; it ends on SIGINT or SIGTERM."""
    from mirrord.kodo.auth import Credentials
    from mirrord.sandbox.serve import Sandbox

    host, port = _address(listen, "--listen")
    for domain in io_domain or []:
        _address(domain, "--io-domain")
    if not abs(skew) <= 1e9:
        raise typer.BadParameter(f"a clock is not {skew} s ahead", param_hint="--skew")
    kodo = Sandbox(
        root=Path(tempfile.gettempdir()) if root is None else root.absolute(),
        origins=dict(_origin(text) for text in origin),
        credentials=Credentials(access_key, secret_key),
        faults=[_fault(text) for text in fault or []],
        prefetch_reply=_one_of_two(prefetch_reply),
        throttle=None if throttle is None else _throttle(throttle),
        io_domains=io_domain or [],
        skew_s=skew,
        frozen=frozen,
    )
    asyncio.run(_serve(kodo, host, port, temporary=root is None))


async def _serve(kodo: "Sandbox", host: str, port: int, *, temporary: bool) -> None:
    from contextlib import AsyncExitStack
    from dataclasses import replace

    from mirrord.sandbox.serve import running
    from mirrord.sandbox.store import StoreUnavailable

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if temporary:
        kodo = replace(kodo, root=Path(tempfile.mkdtemp(prefix="mirrord-sandbox-")))
    async with AsyncExitStack() as running_now:
        try:
            url = await running_now.enter_async_context(running(kodo, host, port, _show))
        except StoreUnavailable as exc:
            _fail(str(exc))
        except OSError as exc:
            reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
            _fail(f"cannot listen on {host}:{port}: {reason}")
        typer.echo(f"objects are kept in {kodo.root}", err=True)
        typer.echo(_config(kodo, url))
        sys.stdout.flush()
        await stop.wait()


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"mirrord sandbox: {sentence}", err=True)
    raise typer.Exit(1)


def _address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint=option)
    return host.strip("[]"), int(port)


def _origin(text: str) -> tuple[str, str | None]:
    bucket, equals, url = text.partition("=")
    if not bucket or ":" in bucket or not equals or not (url == "" or url.startswith(("http://", "https://"))):
        raise typer.BadParameter(f"{text!r} is not BUCKET=URL, like docs=http://127.0.0.1:8000/", param_hint="--origin")
    return bucket, url or None


def _fault(text: str) -> "Fault":
    from mirrord.sandbox.faults import parse_fault

    try:
        return parse_fault(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--fault") from exc


def _throttle(text: str) -> "Throttle":
    from mirrord.sandbox.throttle import parse_throttle

    try:
        return parse_throttle(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--throttle") from exc


def _show(call: "Call") -> None:
    took_ms = (call.ended - call.started) * 1000
    status = "dropped" if call.status is None else call.status
    key = f" {call.bucket}:{call.key}" if call.key is not None else ""
    error = f" {call.error}" if call.error else ""
    typer.echo(
        f"{call.method} {call.target} {status} {took_ms:.1f}ms {call.reqid} {call.operation}{key}{error}",
        err=True,
    )


def _config(kodo: "Sandbox", url: str) -> str:
    """Settings for `mirrord run -c`, complete but for what only the user knows."""
    pinned = [service for service in _SERVICES if service != "io" or not kodo.io_domains]  # those are to be discovered
    lines = [
        "[kodo]",
        f"access_key = {_toml(kodo.credentials.access_key)}",
        f"secret_key = {_toml(kodo.credentials.secret_key)}",
        "",
        "[kodo.hosts]",
        *(f"{service} = {_toml(url)}" for service in pinned),
        "",
        "[journal]",
        f"url = {_toml(f'sqlite:///{kodo.root}/journal.db')}",
    ]
    for bucket, source in kodo.origins.items():
        pulls = (
            ['operation = "prefetch"']
            if source
            else ['operation = "fetch"', 'origin_url = "http://127.0.0.1:8000/"  # where the files are served']
        )
        lines += [
            "",
            "[[mirror]]",
            f"name = {_toml(bucket)}",
            f"bucket = {_toml(bucket)}",
            *pulls,
            "[mirror.source]",
            'kind = "directory"',
            'path = "/srv/www"  # put here the directory that the origin serves',
        ]
    return "\n".join(lines)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a TOML basic string escapes as JSON does
