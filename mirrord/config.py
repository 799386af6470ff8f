"""What people typed (flags, environment, credential, TOML) to checked Settings, or to every mistake in it at once."""

import copy
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pydantic_settings
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from mirrord.feed_settings import disagreements
from mirrord.mistakes import NOT_SHOWN, explain, shown
from mirrord.setting_values import STAND_IN, WORD, Loc
from mirrord.settings import ANY_WAY, SECTIONS, DirectorySource, Settings, section_named

DEFAULT_FILE = Path("/etc/mirrord/config.toml")
PREFIX = "MIRRORD_"
SHORTCUTS = {"MIRRORD_LOG_FORMAT": "MIRRORD_LOG__FORMAT", "MIRRORD_LOG_LEVEL": "MIRRORD_LOG__LEVEL"}
FEED_SECRETS = {"token", "password", "hmac_secret"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake, as text one line. `got` shows no secret, nor what may be one under a mistyped name."""

    file: str
    """The file, "environment VARIABLE", "credential" or "command line"."""
    key: str
    """Dotted, as `mirror[0].source.path`; empty for the file as a whole."""
    got: str
    expected: str
    mirror: str | None = None

    def __str__(self) -> str:
        place = self.key + (f" ({self.mirror})" if self.mirror else "")
        return ": ".join(filter(None, (self.file, place, f"got {self.got}; expected {self.expected}")))


class SettingsError(Exception):
    """The settings cannot be used; as text, one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    settings: Settings
    path: Path
    warnings: tuple[str, ...]
    secret_from: str
    """"command line", "environment", "credential", "settings file" or "secret key file"."""


def load(
    path: Path | None,
    overrides: Mapping[str, Any] = {},
    environ: Mapping[str, str] | None = None,
    *,
    need_secret: bool = True,
) -> Loaded:
    """The settings in force; `overrides` are nested like the file. Raises SettingsError with every problem.

    Without `need_secret` neither the secret key is looked for nor the files of feeds' secrets are read: stand-ins
    are in their place.
    """
    environ = os.environ if environ is None else environ
    path = path or Path(environ.get("MIRRORD_CONFIG") or DEFAULT_FILE)
    reading = _Reading()
    reading.layers.append(_Layer("command line", "command line", overrides))
    reading.take_environment(environ)
    if need_secret:  # systemd 252 names the folder to an ExecReload, too, and lets it read nothing there
        reading.take_credential(environ)
    reading.take_file(path)
    if need_secret:
        secret_from = reading.find_secret(path.parent)
    else:
        secret_from = ""
        reading.layers.insert(0, _Layer("", "", {"kodo": {"secret_key": STAND_IN}}))
    reading.merge()
    reading.find_other_secrets(path.parent if need_secret else None)
    settings = reading.judge()
    if settings is None or reading.problems:
        raise SettingsError(reading.problems)
    return Loaded(settings=settings, path=path, warnings=tuple(reading.warnings), secret_from=secret_from)


def source_problems(settings: Settings, file: str = "settings") -> tuple[Problem, ...]:
    """Sources that cannot be read now: `check` complains, the service starts all the same and waits."""
    expected = "a directory that this user can read and search"
    return tuple(
        Problem(
            file=file,
            key=f"mirror[{number}].source{f'[{place}]' if len(mirror.sources) > 1 else ''}.path",
            got=f"{str(source.path)!r}, {failure}",
            expected=expected,
            mirror=mirror.name,
        )
        for number, mirror in enumerate(settings.mirror)
        for place, source in enumerate(mirror.sources)
        if isinstance(source, DirectorySource) and (failure := _unreadable(source.path))
    )


def _unreadable(directory: Path) -> str | None:
    try:
        if not stat.S_ISDIR(directory.stat().st_mode):
            return "which is not a directory"
    except OSError as exc:
        return _why(exc)
    may = os.access(directory, os.R_OK | os.X_OK, effective_ids=True)  # a capability that was given counts, too
    return None if may else "which this user may not read or search"


def _why(exc: Exception) -> str:
    return (exc.strerror or "unreadable") if isinstance(exc, OSError) else "not a path"


def _secret_in(file: Path) -> str:
    return file.read_bytes().decode(errors="replace").removesuffix("\n").removesuffix("\r")


@dataclass(frozen=True, slots=True)
class _Layer:
    """One place where settings came from; earlier layers win."""

    file: str
    kind: str
    values: Mapping[str, Any]


@dataclass(slots=True)
class _Reading:
    """What one `load` has gathered so far."""

    layers: list[_Layer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=lambda: {"kodo": {}})
    secret_files: dict[Loc, str] = field(default_factory=dict)
    """Where what stands at these places was read."""

    def blame(self, file: str, key: str, got: str, expected: str) -> None:
        self.problems.append(Problem(file=file, key=key, got=got, expected=expected))

    def take_environment(self, environ: Mapping[str, str]) -> None:
        """A layer for each variable, the most specific first."""
        source = EnvSettingsSource(
            cast("type[BaseSettings]", Settings),  # it asks for fields alone; BaseSettings would read by itself
            case_sensitive=False,
            env_prefix=PREFIX,
            env_nested_delimiter="__",
        )
        ours = (name for name in environ if name.upper().startswith(PREFIX))
        for name in sorted(ours, key=str.upper, reverse=True):
            source.env_vars = {SHORTCUTS.get(name, name).lower(): environ[name]}
            file = "environment " + ascii(name)[1:-1]
            try:
                values = source()
            except (pydantic_settings.SettingsError, RecursionError) as exc:
                key = name.upper().removeprefix(PREFIX).replace("__", ".").lower()
                where = f"; {exc.__cause__}" if isinstance(exc.__cause__, json.JSONDecodeError) else ""
                self.blame(file, key, "text that is not JSON", f"JSON{where}")
                continue
            if values:
                self.layers.append(_Layer(file, "environment", values))
            elif name != "MIRRORD_CONFIG":
                self.warnings.append(f"environment {name!a}: no such setting, so it is ignored")

    def take_credential(self, environ: Mapping[str, str]) -> None:
        if directory := environ.get("CREDENTIALS_DIRECTORY"):
            try:
                secret = _secret_in(Path(directory, "secret-key"))
                self.layers.append(_Layer("credential", "credential", {"kodo": {"secret_key": secret}}))
            except FileNotFoundError:
                return
            except OSError as exc:
                self.blame("credential", "kodo.secret_key", f"{_why(exc)} on reading it", ANY_WAY)

    def take_file(self, path: Path) -> None:
        """Raises SettingsError when there is no telling what the file says."""
        try:
            raw = path.read_bytes()
            values = tomllib.loads(raw.decode("utf-8-sig"))
        except OSError as exc:
            got, expected = _why(exc), "a TOML file that this user can read; -c/--config or $MIRRORD_CONFIG names it"
        except UnicodeDecodeError as exc:
            got, expected = f"a byte that is not UTF-8 in line {exc.object.count(10, 0, exc.start) + 1}", "UTF-8"
        except (ValueError, RecursionError) as exc:
            got, expected = f"text that is not TOML: {exc}", "TOML"
        else:
            self.layers.append(_Layer(str(path), "settings file", values))
            kodo = values.get("kodo")
            secrets = []
            if isinstance(kodo, dict) and "secret_key" in kodo:
                secrets.append("the secret key")
                if "secret_key_file" in kodo:
                    self.blame(str(path), "kodo.secret_key_file", "secret_key as well", "one of the two")
            if any(_holds_secrets(feed) for _, feed in _feeds(values)):
                secrets.append("secrets of feeds")
            status = values.get("status")
            if isinstance(status, dict) and "token" in status:
                secrets.append("the page's token")
            if secrets and path.stat().st_mode & stat.S_IROTH:
                self.warnings.append(f"{path}: holds {' and '.join(secrets)} and others can read it; chmod o-r {path}")
            return
        self.blame(str(path), "", got, expected)
        raise SettingsError(self.problems)

    def find_secret(self, base: Path) -> str:
        """Lay what the named secret file holds on top; the answer says where the secret came from."""
        for layer in self.layers:
            kodo = layer.values.get("kodo")
            if not isinstance(kodo, Mapping) or not kodo.keys() & {"secret_key", "secret_key_file"}:
                continue
            name = kodo.get("secret_key_file")
            if "secret_key" in kodo or not isinstance(name, str | Path):
                return layer.kind
            secret = self.secret_of(base, name, ("kodo", "secret_key_file"), "secret key")
            values = {"kodo": {"secret_key": STAND_IN if secret is None else secret}}  # else it were said to be missing
            file = "" if secret is None else str(base / name)
            self.layers.insert(0, _Layer(file, "secret key file", values))
            return "secret key file"
        return ""

    def secret_of(self, base: Path, name: str | Path, loc: Loc, what: str) -> str | None:
        """What the file holds that stands at `loc`; None: it cannot be read, and is blamed."""
        file = base / name
        try:
            secret = _secret_in(file)
            if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                self.warnings.append(f"{file}: holds the {what} and others can read it; chmod 600 {file}")
        except (OSError, ValueError) as exc:
            got = f"{shown((), name) if Path(name).is_absolute() else 'a relative path'}, {_why(exc)}"
            expected = f"the path of a file that holds the {what}, not the {what.rpartition(' ')[2]} itself"
            if isinstance(exc, PermissionError):
                expected = "a file that this user may read: ask as root or as the user that the service runs as"
            self.problems.append(self.problem(loc, got, expected))
            return None
        return secret

    def merge(self) -> None:
        for layer in reversed(self.layers):
            self.values = _merged(self.values, layer.values)

    def find_other_secrets(self, base: Path | None) -> None:
        """Put what the named files hold where the secrets of feeds stand; stand-ins without a `base`."""
        self.values = copy.deepcopy(self.values)  # what is put there was not typed
        for loc, feed in _feeds(self.values):
            for name in sorted(FEED_SECRETS & SECTIONS[section_named(feed)].model_fields.keys()):
                self.put_secret(base, loc, feed, name, f"feed's {name}")
        status = self.values.get("status")
        if isinstance(status, dict):
            self.put_secret(base, ("status",), status, "token", "page's token")

    def put_secret(self, base: Path | None, loc: Loc, section: dict[str, Any], name: str, what: str) -> None:
        """Put what the file of `name` holds where it would stand itself, if there is such a file."""
        path, place = section.get(f"{name}_file"), (*loc, f"{name}_file")
        if not isinstance(path, str | Path):
            return
        if name in section:
            self.problems.append(self.problem(place, f"{name} as well", "one of the two"))
            return
        secret = self.secret_of(base, path, place, what) if base is not None else None
        section[name] = STAND_IN if secret is None else secret
        self.secret_files[*loc, name] = str(path if base is None else base / path)

    def judge(self) -> Settings | None:
        known = {problem.key for problem in self.problems}
        self.compare_mirrors()
        self.compare_sources()
        try:
            return Settings.model_validate(self.values)
        except ValidationError as exc:  # goes no further: it holds what was typed, secrets and all
            mistakes = [explain(error, self.values) for error in exc.errors(include_url=False)]
        found = [self.problem(*mistake) for mistake in mistakes if mistake]
        self.problems += [problem for problem in found if problem.key not in known]
        return None

    def compare_mirrors(self) -> None:
        """No two share a name, or bucket and key_prefix."""
        seen = set[tuple[Any, ...]]()
        for number, mirror in _mirrors(self.values):
            name, bucket, prefix = mirror.get("name"), mirror.get("bucket"), mirror.get("key_prefix", "")
            for parts in ("name", name), ("bucket", bucket, prefix):
                if not all(isinstance(part, str) for part in parts):
                    continue
                if parts in seen:
                    key, got = parts[0], " with key_prefix ".join(shown((), part) for part in parts[1:])
                    self.problems.append(
                        self.problem(("mirror", number, key), f"{got} a second time", f"a {key} of its own")
                    )
                seen.add(parts)

    def compare_sources(self) -> None:
        """What a mirror says in one place fits what it says in others."""
        status = self.values.get("status")
        listen = status.get("listen") if isinstance(status, Mapping) else None
        for number, mirror in _mirrors(self.values):
            for where, got, expected in disagreements(mirror, listen):
                self.problems.append(self.problem(("mirror", number, *where), got, expected))

    def problem(self, loc: Loc, got: str, expected: str) -> Problem:
        mirror: object = self.values["mirror"][loc[1]] if loc[0] == "mirror" and len(loc) > 1 else None
        name = mirror.get("name") if isinstance(mirror, Mapping) else None
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
        return Problem(
            file=self.secret_files.get(loc)
            or next((layer.file for layer in self.layers if _decides(layer.values, loc)), self.layers[-1].file),
            key=key if key.isprintable() else ascii(key),
            got=got,
            expected=expected,
            mirror=name if isinstance(name, str) and re.fullmatch(WORD, name) else None,
        )


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in low.keys() & high.keys() if isinstance(low[key], Mapping) and isinstance(high[key], Mapping)}
    return {**low, **high, **{key: _merged(low[key], high[key]) for key in both}}


def _decides(values: object, loc: Loc) -> bool:
    """Whether what stands (or lacks) at `loc` comes from these values: tables merge, a list comes whole."""
    whole = False
    for part in loc:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and isinstance(part, int):
            values, whole = values[part], True
        else:
            return whole or not isinstance(values, Mapping)
    return True


def _mirrors(values: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    mirrors = values.get("mirror")
    for number, mirror in enumerate(mirrors if isinstance(mirrors, list | tuple) else ()):
        if isinstance(mirror, Mapping):
            yield number, mirror


def _feeds(values: Mapping[str, Any]) -> Iterator[tuple[Loc, dict[str, Any]]]:
    for number, mirror in _mirrors(values):
        source = mirror.get("source")
        places = enumerate(source) if isinstance(source, list | tuple) else [(None, source)]
        for place, each in places:
            if isinstance(each, dict) and each.get("kind") == "feed":
                yield ("mirror", number, "source", *(() if place is None else (place,))), each


def _holds_secrets(feed: Mapping[str, Any]) -> bool:
    headers = feed.get("headers")
    names = [*feed.keys() & FEED_SECRETS, *(headers if isinstance(headers, Mapping) else ())]
    return any(NOT_SHOWN.search(name) for name in names)
