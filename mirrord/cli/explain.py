"""`mirrord explain MIRROR KEY`: all that is known of one key, as a story."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrord.cli import completing
from mirrord.cli.settings import EXIT_NOT_FRESH, ConfigOption, JsonOption, failures_said, load, mirror_named
from mirrord.cli.stories import MirrorArgument, key_of_path, nearest, tell, whole_text, why_unknown

if TYPE_CHECKING:
    from mirrord.decisions.explaining import Attempt, Passage
    from mirrord.journal.report import KeyReport
    from mirrord.model.row import ObjectRow
    from mirrord.settings import Mirror


def explain(
    mirror: MirrorArgument,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The whole key, with the key_prefix.", autocompletion=completing.keys)
    ],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """All that is known of one key. Versions, state, why, last attempts, what comes next."""
    from mirrord.journal.report import report_key
    from mirrord.status.story import attempts_of, story_of

    loaded = load(config, need_secret=False)
    chosen, key, now = mirror_named(mirror, loaded), whole_text(key), datetime.now(UTC)
    with failures_said():
        found = report_key(loaded.settings.journal.url, chosen.name, key)
        if found.row is None:
            _say_unknown(key, chosen, loaded.settings.journal.url, found.neighbours, as_json=as_json)
            raise typer.Exit(EXIT_NOT_FRESH)
    story = story_of(found, now)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(_document(found.row, attempts_of(found), found, story)).decode())
    else:
        tell(f"{chosen.name} {key!r}", story, [repr(key)])


def _say_unknown(key: str, mirror: "Mirror", url: str, neighbours: Sequence[str], *, as_json: bool) -> None:
    reason, alike = why_unknown(key, mirror), _alike(key, mirror, url, neighbours)
    if as_json:
        import orjson

        document = {"mirror": mirror.name, "key": key, "state": None, "reason": reason, "alike": alike}
        typer.echo(orjson.dumps(document).decode())
        return
    from mirrord.cli.tables import say

    say(f"mirrord: {mirror.name} knows no key {key!r}: {reason}", whole=[repr(key)], err=True)
    if alike:
        names = [repr(each) for each in alike]
        say(f"mirrord: known and alike: {', '.join(names)}", whole=names, err=True)


def _alike(key: str, mirror: "Mirror", url: str, neighbours: Sequence[str]) -> list[str]:
    """Known keys that may have been meant; one that only lacks its prefix is the one."""
    from mirrord.journal.report import report_key

    if (meant := key_of_path(key, mirror)) is not None:
        return [meant] if report_key(url, mirror.name, meant).row is not None else []
    if not mirror.key_prefix:
        return nearest(key, neighbours)
    prefixed = mirror.key_prefix + key
    found = report_key(url, mirror.name, prefixed)
    if found.row is not None:
        return [prefixed]
    around = [*neighbours, *found.neighbours]
    return nearest(key, around) or nearest(prefixed, around)


def _document(
    row: "ObjectRow", attempts: "list[Attempt]", found: "KeyReport", story: "list[Passage]"
) -> dict[str, Any]:
    """As `--json` shows it; times are ISO 8601, UTC. `story` is what people read, the rest what it was made from."""
    from mirrord.cli.status import condition_document, iso, row_document
    from mirrord.model.fingerprint import size_of

    pending = row.pending
    return {
        "mirror": row.mirror,
        **row_document(row),
        "wanted": row.wanted,
        "wanted_size": size_of(row.wanted),
        "wanted_at": iso(row.wanted_at),
        "why": row.why.value if row.why else None,
        "removed_at": iso(row.removed_at),
        "confirmed": row.confirmed,
        "bucket_hash": row.bucket_hash,
        "strikes": row.strikes,
        "tries": row.tries,
        "lease_until": iso(row.lease_until),
        "pending": None
        if pending is None
        else {
            "operation": pending.operation.value,
            "began_at": iso(pending.began_at),
            "until": iso(pending.until),
            "looks": pending.looks,
            "reqid": pending.reqid,
            "task": pending.task,
        },
        "tried": [_attempt_document(each) for each in attempts],
        "conditions": [condition_document(each) for each in found.conditions],
        "complete_as_of": iso(found.coverage.complete_as_of),
        "lost_since": iso(found.coverage.lost_since),
        "service": found.served,
        "story": [{"heading": each.heading, "lines": list(each.lines)} for each in story],
    }


def _attempt_document(attempt: "Attempt") -> dict[str, Any]:
    from mirrord.cli.status import iso

    return {
        "at": iso(attempt.at),
        "operation": attempt.operation.value,
        "status": attempt.status,
        "outcome": attempt.outcome.value if attempt.outcome else None,
        "reqid": attempt.reqid,
        "asked_at": iso(attempt.asked_at),
        "error": attempt.error,
        "duration_s": attempt.duration.total_seconds(),
    }
