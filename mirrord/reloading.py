"""SIGHUP to settings read again: taken by what runs, or refused and said; the answer is left for whoever asked."""

import asyncio
import os
from pathlib import Path

import structlog

from mirrord import answer, config, log
from mirrord.config import Loaded, SettingsError
from mirrord.daemon import Renewed
from mirrord.journal.database import file_of
from mirrord.wiring import Assembly

logger = structlog.get_logger()


class Reloading:
    """Implements Reloads for a service that was started with the settings in `path`; None: with the usual file."""

    def __init__(self, path: Path | None, assembly: Assembly, asked: asyncio.Event) -> None:
        self._path = path
        self._assembly = assembly
        self._asked = asked
        self._places = answer.places(file_of(assembly.settings.journal.url), os.environ.get("RUNTIME_DIRECTORY"))
        self._number = 0
        self._ok = True
        self._said: tuple[str, ...] = ()

    async def asked(self) -> None:
        await self._asked.wait()
        self._asked.clear()  # before the file is read: who asks from now on means what it says then

    def read(self) -> Renewed | None:
        loaded = _loaded(self._path)
        if isinstance(loaded, SettingsError):
            self._ok, self._said = False, tuple(map(str, loaded.problems))
            logger.error(
                "settings.refused",
                problems=list(self._said),
                action="mend the file and reload again; the settings from before stay in force",
            )
            return None
        before = self._assembly.settings
        changes, renewed = self._assembly.renew(loaded.settings)
        self._configure_log(loaded, before.secrets)
        self._ok = True
        self._said = changes.needs_restart
        (logger.warning if changes.needs_restart else logger.info)(
            "settings.reloaded",
            file=str(loaded.path),
            started=[mirror.name for mirror in changes.start if mirror.name not in changes.stop],
            stopped=[name for name in changes.stop if name not in renewed.order],
            replaced=[mirror.name for mirror in changes.start if mirror.name in changes.stop],
            adjusted=[mirror.name for mirror in changes.adjust],
            needs_restart=list(changes.needs_restart),
        )
        return renewed

    def answer(self) -> None:
        self._number += 1
        given = answer.mine(self._number, ok=self._ok, said=self._said)
        for failure in answer.leave(given, self._places):
            logger.warning("answer.lost", path=failure.filename, reason=failure.strerror)

    def close(self) -> None:
        """The service has ended."""
        answer.take_away(self._places)

    def _configure_log(self, loaded: Loaded, secrets: tuple[str, ...]) -> None:
        """The secrets that the process was started with are still in use."""
        chosen = loaded.settings.log
        log.configure(chosen.format, chosen.level, (*secrets, *loaded.settings.secrets))
        for warning in loaded.warnings:
            logger.warning("settings.doubted", warning=warning)


def _loaded(path: Path | None) -> Loaded | SettingsError:
    try:
        return config.load(path)
    except SettingsError as exc:
        return exc
