"""A place where mirrord is at work: a tree, its HTTP origin, a sandbox, settings, and the program as a process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from mirrord.journal.report import MirrorReport, report
from mirrord.kodo.auth import Credentials
from mirrord.sandbox.operations import PrefetchReply
from tests import programs
from tests.programs import Forked
from tests.servers import Sandbox, running_app, running_origin, running_sandbox

PATIENCE_S = 30.0
NOW_AND_THEN_S = 0.2
"""What is waited for may come to be after the line that tells of it: rows are settled many at a time."""
CREDENTIALS = Credentials("e2e-access-key", "e2e-secret-key-that-nobody-may-read")
BUCKETS = ("docs", "pages")
_QUESTIONS = {"batch", "stat", "query", "bucket-info"}
_SERVICES = ("uc", "io", "rs", "rsf", "api", "fusion")

Line = dict[str, Any]
"""One log line."""


class GatedOrigin:
    """The files below `directory`. While shut, an answer waits at the gate with the bytes that were read before."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = threading.Event()
        self._open.set()
        self._asked = threading.Condition()
        self.asked: list[str] = []

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def until_asked(self, times: int = 1) -> None:
        """Wait until so many pulls have come, from the beginning on."""
        with self._asked:
            assert self._asked.wait_for(lambda: len(self.asked) >= times, PATIENCE_S), self.asked

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{rest:(?s:.*)}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        key = unquote(request.raw_path)[1:]
        if request.method == "HEAD":  # no pull: somebody asks whether it is there
            return web.Response(headers={"Content-Length": str((self._directory / key).stat().st_size)})
        body = (self._directory / key).read_bytes()
        with self._asked:
            self.asked.append(key)
            self._asked.notify_all()
        await asyncio.get_running_loop().run_in_executor(None, self._open.wait)
        return web.Response(body=body)


class Program:
    """A running `mirrord`, and every line that it has logged so far."""

    def __init__(self, process: subprocess.Popen[str] | Forked, notified: socket.socket) -> None:
        self._process = process
        self._notified = notified
        self._news = threading.Condition()
        self._ended = False
        self._lines: list[Line] = []
        self.noise: list[str] = []
        """What came on stderr and is no log line."""
        self._reader = threading.Thread(target=self._read, name="stderr")
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            with self._news:
                if text.startswith("{"):
                    self._lines.append(json.loads(text))
                else:
                    self.noise.append(text)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def lines(self) -> list[Line]:
        with self._news:
            return list(self._lines)

    def said(self, event: str, **fields: object) -> list[Line]:
        """The lines of this event that have these fields."""
        return [line for line in self.lines if matches(line, event, fields)]

    def until(self, condition: Callable[[], bool], what: object = "") -> None:
        """Ask again after every line, and now and then, until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        seen, ended = -1, False
        while True:
            late = time.monotonic() > deadline
            before, (seen, ended) = (seen, ended), self._wait_for_more(seen, 0.0 if late else NOW_AND_THEN_S)
            if condition():
                return
            assert not ended, f"ended before: {what}; last lines: {self.lines[-5:]} {self.noise}"
            asked_in_vain = late and before == (seen, ended)
            assert not asked_in_vain, f"not within {PATIENCE_S} s: {what}; last lines: {self.lines[-5:]}"

    def _wait_for_more(self, seen: int, patience_s: float) -> tuple[int, bool]:
        """Wait for another line than those seen: how many there are, and whether it has ended."""
        with self._news:
            self._news.wait_for(lambda: len(self._lines) > seen or self._ended, patience_s)
            return len(self._lines), self._ended

    def until_said(self, event: str, times: int = 1, **fields: object) -> list[Line]:
        self.until(lambda: len(self.said(event, **fields)) >= times, (event, times, fields))
        return self.said(event, **fields)

    def until_notified(self, state: str) -> None:
        """Wait until it has told systemd, such as `STOPPING=1`."""
        while state not in self._notified.recv(4096).decode().split("\n"):
            pass

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> "Ended":
        """Until it has ended by itself."""
        assert self._process.stdout is not None
        out = self._process.stdout.read()
        code = self._process.wait(PATIENCE_S)
        self._reader.join()
        return Ended(code, out, self.lines, self.noise)

    def stop(self) -> "Ended":
        self.send(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._notified.close()


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    lines: list[Line]
    noise: list[str]

    def said(self, event: str, **fields: object) -> list[Line]:
        return [line for line in self.lines if matches(line, event, fields)]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Place:
    """Everything of one test: `www` is mirrored into the bucket `docs` unless the settings say otherwise."""

    root: Path
    www: Path
    origin: str
    kodo: Sandbox
    _programs: list[Program] = field(default_factory=list)

    def configure(self, *mirrors: Mapping[str, Any], **sections: Mapping[str, Any]) -> None:
        """Write the settings: what is given on top of what every test needs; a mirror's tables are merged, too."""
        settings: dict[str, Any] = {
            "kodo": {
                "access_key": CREDENTIALS.access_key,
                "secret_key": CREDENTIALS.secret_key,
                "hosts": dict.fromkeys(_SERVICES, self.kodo.url),
            },
            "journal": {"url": f"sqlite:///{self.root}/journal.db"},
            "log": {"format": "json"},
            "status": {"listen": ""},
        }
        for name, section in sections.items():
            settings[name] = settings.get(name, {}) | section
        settings["mirror"] = [self._mirror(mirror) for mirror in mirrors or ({},)]
        text = "\n".join(f"{name} = {_toml(value)}" for name, value in settings.items())
        self.settings.write_text(text, "utf-8")
        self.settings.chmod(0o600)

    def _mirror(self, given: Mapping[str, Any]) -> dict[str, Any]:
        mirror: dict[str, Any] = {
            "name": "docs",
            "bucket": "docs",
            "first_run": "refresh",  # so that a call is what a test is about, unless that is the listing
            "source": {"kind": "directory", "path": str(self.www), "settle": "50ms"},
            "retry": {"first_delay": "10ms"},
        }
        if "kind" in given.get("source", ()):
            del mirror["source"]  # a source of another kind, whole
        for name, value in given.items():
            mirror[name] = mirror.get(name, {}) | value if isinstance(value, Mapping) else value
        return mirror

    @property
    def settings(self) -> Path:
        return self.root / "config.toml"

    def start(self, *arguments: str, confined: Sequence[str] = (), anew: bool = False) -> Program:
        """Run `mirrord ARGUMENTS` until the test ends, confined by a command line that goes before it.

        Anew: with nothing imported beforehand, as a user starts it; see tests/programs.py.
        """
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notified.settimeout(PATIENCE_S)
        notified.bind("")  # any free abstract name
        name = notified.getsockname().decode().replace("\0", "@")
        dropped = ("MIRRORD_", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        environment |= {"NOTIFY_SOCKET": name, "MIRRORD_CONFIG": str(self.settings)}
        program = Program(programs.start(arguments, environment, confined=confined, anew=anew), notified)
        self._programs.append(program)
        return program

    def run(self, *, confined: Sequence[str] = (), anew: bool = False) -> Program:
        """The service, started."""
        program = self.start("run", confined=confined, anew=anew)
        program.until_said("service.started")
        return program

    def once(self, *arguments: str) -> Ended:
        return self.start("once", *arguments).wait()

    def close(self) -> None:
        for program in self._programs:
            program.close()
        for program in self._programs:
            assert "Traceback" not in "".join(program.noise)

    def write(self, key: str, content: bytes | str = b"x") -> Path:
        """A file of the origin, written in place."""
        path = self.www / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def calls(self) -> list[dict[str, Any]]:
        """What was asked of the sandbox, without what only verifies, or asks how things are."""
        return [call for call in self.kodo.calls() if call["operation"] not in _QUESTIONS]

    def differing(self, keys: Iterable[str], bucket: str = "docs") -> set[str]:
        """Those of the keys whose bytes in the bucket are not those of the origin."""
        return {key for key in keys if self.kodo.read(bucket, key) != (self.www / key).read_bytes()}

    def report(self) -> MirrorReport:
        """Where the mirror `docs` stands, as `mirrord status` tells it."""
        (docs,) = report(f"sqlite:///{self.root}/journal.db", ["docs"])
        return docs

    def until_equal(self, program: Program, keys: Iterable[str]) -> None:
        """Wait until the bucket has the origin's bytes of all these keys."""
        left = sorted(keys := set(keys), reverse=True)

        def equal() -> bool:
            while left and not self.differing(left[-1:]):
                left.pop()
            return not left

        program.until(equal, left)
        assert self.differing(keys) == set()


def matches(line: Line, event: str, fields: Mapping[str, object]) -> bool:
    return line["event"] == event and all(line[name] == value for name, value in fields.items())


def keys_below(directory: Path, root: Path) -> set[str]:
    """The keys of all regular files below `directory`, of which every name must be UTF-8."""
    paths = [Path(above, name) for above, _, names in os.walk(directory) for name in names]
    return {str(path.relative_to(root)) for path in paths if path.is_file() and not path.is_symlink()}


@contextmanager
def place_at(
    root: Path, *, gate: GatedOrigin | None = None, prefetch_reply: PrefetchReply = "empty"
) -> Iterator[Place]:
    """A place below `root`, its servers running; `gate` is what serves the tree instead of the plain origin."""
    www = root / "www"
    www.mkdir(parents=True, exist_ok=True)
    serving = running_app(gate.application) if gate else running_origin(www)
    try:
        with (
            serving as origin,
            running_sandbox(
                root / "kodo",
                dict.fromkeys(BUCKETS, origin),
                credentials=CREDENTIALS,
                prefetch_reply=prefetch_reply,
            ) as kodo,
        ):
            place = Place(root, www, origin, kodo)
            place.configure()
            try:
                yield place
            finally:
                place.close()
                if gate:
                    gate.open()
    finally:
        if gate:
            gate.open()


def _toml(value: object) -> str:
    match value:
        case Mapping():
            return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)  # text, numbers and booleans are written alike
