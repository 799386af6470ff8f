"""The demo, step by step: edit the origin, wait until the log says that every key was refreshed, prove it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from mirrord.cli.demo_kodo import LocalKodo
from mirrord.cli.demo_log import Attempt, Event, ServiceEnded
from mirrord.cli.demo_proof import Proof, prove
from mirrord.cli.demo_screen import Bar, Screen
from mirrord.cli.demo_service import Service
from mirrord.cli.demo_site import BURST, Site

STEP_MOST_S = 60.0
"""How long a step may take before the demo has failed; the longest waits 10 s by design."""
LOGGED_MOST_S = 5.0
"""How long after the answer a call may be logged."""
PAUSE_S = 1.0
"""So long without a line ends a burst of them."""
BURST_FILES = 200
BEFORE_KILL = 40
SLOW_PULL_S = 0.3


class DemoFailed(Exception):
    """Something that the demo was to show did not happen."""


@dataclass(slots=True)
class Wave:
    """Keys on their way from the origin to the bucket."""

    touched: Mapping[str, float]
    """When each was in place at the origin; may grow."""
    lags_s: dict[str, float] = field(default_factory=dict)
    """From there to refreshed, for the last time if more than once."""

    def take(self, attempt: Attempt) -> float:
        """Seconds since the key was touched; the key has arrived if the call that ended began after that."""
        touched_at = self.touched.get(attempt.key)
        if touched_at is None or attempt.began < touched_at:
            return attempt.lag_s  # for an earlier version than the touched one, or of no key of ours
        after_s = attempt.ended - touched_at
        if attempt.refreshed:
            self.lags_s[attempt.key] = after_s
        return after_s

    @property
    def missing(self) -> list[str]:
        return [key for key in self.touched if key not in self.lags_s]


class Script:
    """The steps, over an origin, a sandbox and a service that somebody else starts and ends."""

    def __init__(self, site: Site, kodo: LocalKodo, service: Service, screen: Screen) -> None:
        self._site = site
        self._kodo = kodo
        self._service = service
        self._screen = screen
        self._lags_s: list[float] = []
        self._kill_lags_s: list[float] = []
        self._restarted_at = 0.0

    async def play(self) -> Proof:
        """Raises DemoFailed."""
        await self._first_sync()
        await self._edits()
        await self._kill_in_a_burst()
        return await self._proof()

    async def follow(self) -> None:
        """Show every attempt, until cancelled. Raises DemoFailed when the service ends."""
        idle = Wave({})
        while True:
            await self._look(idle)
            self._screen.fold()

    # -- steps -----------------------------------------------------------------------------------------

    async def _first_sync(self) -> None:
        files = self._site.keys()
        self._screen.step(f"First sync: start the service on {len(files)} files, with an empty bucket")
        self._screen.columns()
        built_at = max(path.stat().st_mtime for path in files.values())
        await self._service.start()
        await self._refreshed(dict.fromkeys(files, built_at))

    async def _edits(self) -> None:
        site, screen = self._site, self._screen
        for title, edit in (
            ("Create files in a new directory", site.create),
            ("Edit files in place", site.edit_in_place),
            ("Replace files by rename, as rsync does", site.replace_by_rename),
            ("Rename blog/2024 to blog/archive", lambda: site.rename_directory("blog/2024", "blog/archive")),
            ("Remove about.html, and the link to it", lambda: site.remove("about.html", "index.html")),
        ):
            screen.step(title)
            self._lags_s += (await self._refreshed(edit())).values()
        await self._say_what_is_kept()

    async def _say_what_is_kept(self) -> None:
        left = [key for key in self._site.dropped if isinstance(await self._kodo.read(key), bytes)]
        self._screen.note(f'on_removed = "keep": the bucket still serves {len(left)} keys that are gone from')
        self._screen.note("the origin, about.html and those below blog/2024")

    async def _kill_in_a_burst(self) -> None:
        screen = self._screen
        screen.step(f"Publish {BURST_FILES} files; kill -9 the service in the middle")
        screen.note(f"(the sandbox pulls {BURST}/ {SLOW_PULL_S} s slower, so that calls are in flight)")
        await self._kodo.slow_down(f"{BURST}/*", SLOW_PULL_S, BURST_FILES)
        touched: dict[str, float] = {}
        wave = Wave(touched)
        with screen.waiting(BURST_FILES) as bar:
            async with _deadline(wave), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._site.burst(BURST_FILES, touched), name="burst")
                while len(wave.lags_s) < BEFORE_KILL:
                    await self._look(wave, bar)
                await self._kill(wave)
            screen.note(f"{len(wave.missing)} of them are not refreshed yet; the service is started again")
            self._restarted_at = time.time()
            await self._service.start()
            await self._arrived(wave, bar)
        self._kill_lags_s += wave.lags_s.values()

    async def _kill(self, wave: Wave) -> None:
        """Kill it, and take in what it had still said."""
        published = len(wave.touched)
        await self._service.kill()
        try:
            while True:
                self._take(await self._service.log.next(), wave)
        except ServiceEnded:
            self._screen.note(f"kill -9, with {published} of {BURST_FILES} files published", "red")

    async def _proof(self) -> Proof:
        screen = self._screen
        screen.step("Proof: origin, bucket, log and the sandbox's record, side by side")
        record, restarted_at = await self._kodo.record(), self._restarted_at
        await self._logged({call["reqid"] for call in record.pulls if call["started"] > restarted_at})
        proof = await prove(self._kodo, self._site, self._service.log.attempts, record, restarted_at)
        for sentence in proof.differences:
            screen.say(f"  differs  {sentence}", "red")
        if not proof.differences:
            for line in self._in_words(proof):
                screen.say(f"  {line}")
        return proof

    def _in_words(self, proof: Proof) -> tuple[str, ...]:
        median_s, worst_s, kill_s = statistics.median(self._lags_s), max(self._lags_s), max(self._kill_lags_s)
        return (
            f"{proof.keys} keys, {proof.size_bytes / 2**20:.1f} MiB: bucket and origin are equal, byte for byte",
            f"{proof.dropped} keys that the origin dropped: the bucket kept their last bytes",
            f"{proof.attempts} attempts logged, each with the X-Reqid that the sandbox gave that call",
            f"{proof.unlogged} more calls were cut off by the kill; each of their keys was asked for again",
            f"no key was ever in flight twice (max_overlap {proof.overlap} in the sandbox's record)",
            f"write to refreshed: median {median_s:.2f} s, worst {worst_s:.2f} s; across the kill {kill_s:.2f} s",
        )

    # -- waiting ---------------------------------------------------------------------------------------

    async def _refreshed(self, touched: Mapping[str, float]) -> dict[str, float]:
        """Wait until every key has arrived, each with its lag. Raises DemoFailed."""
        wave = Wave(touched)
        with self._screen.waiting(len(touched)) as bar:
            await self._arrived(wave, bar)
        return wave.lags_s

    async def _arrived(self, wave: Wave, bar: Bar) -> None:
        async with _deadline(wave):
            while wave.missing:
                await self._look(wave, bar)
        self._screen.fold()

    async def _logged(self, reqids: set[str]) -> None:
        """Read on until the log has them all: a key that the kill left in doubt may be asked for once more."""
        with suppress(TimeoutError):  # what is then missing, the proof says
            async with asyncio.timeout(LOGGED_MOST_S):
                while not reqids <= {each.reqid for each in self._service.log.attempts}:
                    await self._look(Wave({}))
        self._screen.fold()

    async def _look(self, wave: Wave, bar: Bar | None = None) -> None:
        """Take in the next line of the service's log, or say what has come when it pauses."""
        try:
            async with asyncio.timeout(PAUSE_S):
                said = await self._service.log.next()
        except TimeoutError:
            self._screen.fold()
            return
        except ServiceEnded:
            raise DemoFailed("the service ended by itself") from None
        self._take(said, wave)
        if bar is not None:
            bar.move(len(wave.lags_s))

    def _take(self, said: Attempt | Event, wave: Wave) -> None:
        match said:
            case Attempt():
                self._screen.attempt(said, wave.take(said))
            case Event(name="claims.recovered"):
                keys = said.fields["keys"]
                self._screen.note(f"{keys} keys were claimed when it died. Kodo may not have noticed and still pull")
                self._screen.note("them: by design they are asked for again only after 10 s")
            case Event(level="warning" | "error"):
                reason = next((said.fields[name] for name in ("reason", "warning", "error") if name in said.fields), "")
                self._screen.note(f"the service says: {said.name} {reason}", "yellow")
            case Event():
                pass


@asynccontextmanager
async def _deadline(wave: Wave) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(STEP_MOST_S):
            yield
    except TimeoutError:
        keys = ", ".join(wave.missing[:5])
        raise DemoFailed(f"{len(wave.missing)} keys not refreshed after {STEP_MOST_S:.0f} s: {keys}") from None
