"""mirrord keeps a Qiniu Kodo mirror bucket in step with its origin. This is the map.

Two halves share nothing but the journal, which keeps one row per key: the version the origin has, and
the version the bucket is known to hold. A key is stale while the two differ.

    sources/directory ─┐                                                left half: intake.py
    sources/scan ──────┼▶ Change ▶ keymap ▶ coalescing ▶ staleness ▶ journal.record
                       ┘  model/   decisions/ ──────────────────────▶   journal/  │
                                                                                  ▼
    log ◀ journal.settle ◀ retry.next_step ◀ Outcome ◀ kodo/ ◀ pacing ◀ journal.claim
          journal/         decisions/        model/                     right half: dispatcher.py

Left of `record` anything may be lost, and the next scan finds it. Right of it nothing may be lost, ever.

    __main__.py    python -m mirrord
    cli/           a file per command: arguments, exit codes, tables; nothing else
    wiring.py      settings to running objects; the one place that reads clocks, rolls dice, picks backends
    config.py      TOML, environment, credentials to settings; every mistake at once
    settings.py    what a person may set, with defaults and bounds
    log.py         the structlog pipeline, configured once
    daemon.py      lifetime only: start both halves, wait for a signal, stop them in data-flow order
    intake.py      sources → decisions → journal
    guard.py       removals that wait → let go, or held for a person
    heartbeat.py   how it goes → systemd: the watchdog, the status line
    dispatcher.py  journal → Kodo → journal
    gate.py        what the answers so far say of account, origin and Kodo → who may call now, and how often
    outages.py     how calls end → whether origin and Kodo are well; breakers, and what an outage gave up
    pulls.py       a claim → what is asked: delete, pull, asynchronous fetch, or a look whether one has ended
    target.py      what one mirror asks, as settings became it
    verifier.py    successes → what the bucket really holds, asked in batches
    attempts.py    what came of each attempt → log line and settlement
    inventory.py   the bucket's listing → journal, for a first run to compare with
    preflight.py   settings against Kodo and the origin → findings, for `check --online` and at a start
    audit.py       the same listing against the journal, now and then
    systemd.py     the notify protocol, and the journal's native one
    sources/       where changes come from: contract.py, directory.py, scan.py, hashing.py, inotify.py
    journal/       where rows survive a restart: tables.py, store.py, migrations/
    kodo/          entry, auth, etag, protocol, replies, region, reqid (no I/O) · wire, transport, hosts, client, …
    decisions/     what to do about it: statuses, verdict, breaker, pacing, pulling, retry, staleness, …; pure
    model/         what things are: Change, Fingerprint, ObjectRow, Outcome; frozen values
    sandbox/       a local Kodo: the seed documents' server side, for trying out and for tests

Imports point down only; `lint-imports` holds that.
"""

__version__ = "0.1.0"
