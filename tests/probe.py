"""What a program finds when it begins, as one JSON document, and then whatever is asked for: see test_programs.py."""

import asyncio
import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import structlog

main = sys.modules["__main__"]
found = {
    "arguments": sys.argv,
    "main": [main.__name__, main.__package__, main.__file__],
    "environment": dict(os.environ),
    "directory": str(Path.cwd()),
    "path": sys.path,
    "flags": [*sys.flags],
    "streams": [
        [each.encoding, each.errors, each.line_buffering, each.isatty(), each.fileno()]
        for each in (sys.stdin, sys.stdout, sys.stderr)
    ],
    "open files": sorted(os.listdir("/proc/self/fd"), key=int)[:-1],  # the last is the directory itself
    "threads": [threading.active_count(), len(os.listdir("/proc/self/task"))],
    "signals": {str(each): str(signal.getsignal(each)) for each in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "wake-up": signal.set_wakeup_fd(-1),
    "group": [os.getpgrp(), os.getsid(0)],
    "umask": os.umask(0),
    "collecting": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
    "structlog": structlog.is_configured(),
    "logging": [logging.root.level, str(logging.root.handlers)],
    "loop": str(asyncio._get_running_loop()),
    "warnings": len([each for each in warnings.filters if each[0] != "ignore"]),
    "temporary": tempfile.tempdir,
    "chance": random.random(),
}
print(json.dumps(found), flush=True)
match sys.argv[1]:
    case "exit":
        sys.exit(7)
    case "raise":
        raise LookupError("nobody catches this")
    case "wait":
        signal.pause()
