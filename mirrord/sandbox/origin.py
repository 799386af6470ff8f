"""A directory to a small static web origin: every file, nothing else."""

import mimetypes
import os
from email.utils import formatdate
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from aiohttp import web

from mirrord.sandbox.reply import send_file


class Origin:
    """Serves the files below `directory` by their names' bytes; lists no directory, leaves it by no path."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.route("*", "/{rest:(?s:.*)}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        name = os.fsdecode(unquote_to_bytes(request.raw_path.partition("?")[0]))[1:]
        file = self._open(name)
        if file is None:
            return web.Response(status=404)
        found = os.fstat(file.fileno())
        headers = {
            "ETag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
            "Last-Modified": formatdate(found.st_mtime, usegmt=True),
            "Content-Type": _mime_type(name),
        }
        return await send_file(request, file, headers)

    def _open(self, name: str) -> BinaryIO | None:
        """The file that is called exactly `name`, if it is one."""
        segments = name.split("/")
        if any(segment in {"", ".", ".."} for segment in segments) or "\0" in name:
            return None
        try:
            # Not to wait for the writer of a FIFO.
            descriptor = os.open(Path(self._directory, *segments), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:  # not there, not ours to read, a name too long
            return None
        if not S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb", buffering=0)


def _mime_type(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name.rpartition("/")[2])
    return "application/octet-stream" if kind is None or encoding is not None else kind
