"""A publisher: `python -m bench.writer TREE CHANGES PER_SECOND` writes files and prints when each was closed.

One JSON list `[key, closed]` a line, by `time.monotonic`, taken just before the call that closes the file.
"""

import json
import sys
import time

from bench.tree import key_of


def main(tree: str, changes: int, per_second: float) -> None:
    began, closed = time.monotonic(), []
    for number in range(changes):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        key = key_of(number)
        file = open(f"{tree}/{key}", "wb")  # noqa: PTH123, SIM115 - closing it is what counts
        file.write(b"changed")
        file.flush()
        closed.append((key, time.monotonic()))
        file.close()
    for each in closed:
        print(json.dumps(each))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
