"""mirrord keeps a Qiniu Kodo mirror bucket in step with its origin. This is the map.

Two halves share nothing but the journal, which keeps one row per key: the version the origin has, and
the version the bucket is known to hold. A key is stale while the two differ.

    sources/directory ─┐                                                left half: intake.py
    sources/scan ──────┼▶ Change ▶ keymap ▶ coalescing ▶ staleness ▶ journal.record
    sources/feed ──────┘  model/   decisions/ ──────────────────────▶   journal/  │
                                                                                  ▼
    log ◀ journal.settle ◀ retry.next_step ◀ Outcome ◀ kodo/ ◀ pacing ◀ journal.claim
          journal/         decisions/        model/                     right half: dispatcher.py

Left of `record` anything may be lost, and the next scan finds it; a feed's place moves with the keys that it stands
for, so it is read again from there. Right of `record` nothing may be lost, ever.

    __main__.py    python -m mirrord
    cli/           a file per command: arguments, exit codes, tables; nothing else
    reloading.py   SIGHUP → settings read again, taken or refused; answer.py: what `mirrord reload` is told of it
    wiring.py      settings to running objects; the one place that reads clocks, rolls dice, picks backends
    shown.py       a running service to what it shows of itself, at `status.listen`
    halves.py      one mirror's settings to its two halves; what of them a running mirror can take
    config.py      TOML, environment, credentials to settings; every mistake at once
    mistakes.py    what pydantic found wrong → sentences with file, key, value and what would do
    settings.py    what a person may set, with defaults and bounds; setting_values.py: durations, sizes, URLs, …
    feed_settings.py, feed_values.py   the same of change feeds, a section for each format
    feeds.py       feed settings to running feeds: one reader for a feed, however many mirrors follow it
    log.py         the structlog pipeline; masking.py: no secret in a line; sinks.py: where lines go, and never wait
    daemon.py      lifetime only: start everything, wait for a signal, stop it in data-flow order
    renewal.py     two settings → which mirrors stop, start or are adjusted, and what needs a restart
    fleet.py       the mirrors that run: each starts, is replaced and stops on its own
    doors.py       where others come to us, by address and owner; listener.py is what listens there
    intake.py      sources → decisions → journal
    guard.py       removals that wait → let go, or held for a person
    heartbeat.py   how it goes → systemd: the watchdog, the status line
    dispatcher.py  journal → Kodo → journal
    gate.py        what the answers so far say of account, origin and Kodo → who may call now, and how often
    outages.py     how calls end → whether origin and Kodo are well; breakers, and what an outage gave up
    pulls.py       a claim → what is asked: delete, pull, asynchronous fetch, or a look whether one has ended
    confirmation.py   a claim → whether the origin shows what its feed told; until then it waits
    target.py      what one mirror asks, as settings became it
    verifier.py    successes → what the bucket really holds, asked in batches
    attempts.py    what came of each attempt → log line and settlement
    inventory.py   the bucket's listing → journal, for a first run to compare with
    preflight.py   settings against Kodo, the origin and its feed → findings, for `check --online` and at a start
    cdn.py         keys that were refreshed and verified → the CDN before the bucket, told in batches
    housekeeping.py   what the journal need not keep → dropped, daily
    audit.py       the same listing against the journal, now and then
    systemd.py     the notify protocol, and the journal's native one
    sources/       where changes come from: contract.py, directory.py, scan.py, hashing.py, inotify.py; hinted.py is
                   a directory that a feed tells where to look
    sources/feed/  change feeds over HTTP. dialect.py is what a format is to the reader; couchdb, http_feeds, jsonl,
                   resourcesync, sse are formats (no I/O) · fetching asks, lane reads on, shared serves several
                   mirrors, source is one mirror's · hooks, webhook: what is posted · snapshot, walk, sitemap,
                   reconciling: what names every key, held against the journal · probing: one look, for `check`
    journal/       where rows survive a restart: tables.py, store.py, migrations/
    kodo/          entry, auth, etag, protocol, replies, region, reqid (no I/O) · wire, transport, hosts, client, …
    decisions/     what to do about it: feed_keys, statuses, verdict, breaker, pacing, pulling, retry, …; pure
    model/         what things are: Mention, Change, Fingerprint, Cursor, ObjectRow, Outcome; frozen values
    status/        the page, metrics and health: standing.py is how the service is now, journaled.py what the journal
                   says; meters and recent hear the log's lines
    sandbox/       a local Kodo: the seed documents' server side, for trying out and for tests

Imports point down only; `lint-imports` holds that.
"""

__version__ = "0.1.0"
