"""What the kernel says of a process is read as it is meant."""

import os
import resource
import threading
import time
from pathlib import Path

from mirrord.status.process import usage


def test_memory_time_threads_and_descriptors_are_those_of_this_process() -> None:
    before = usage()
    assert before is not None
    read_end, write_end = os.pipe()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    worked_until = time.process_time() + 0.05
    while time.process_time() < worked_until:
        pass

    now, tasks = usage(), len(list(Path("/proc/self/task").iterdir()))

    ended.set()
    thread.join()
    os.close(read_end)
    os.close(write_end)
    assert now is not None
    assert now.open_fds == before.open_fds + 2
    assert now.threads == tasks
    assert 0.03 <= now.cpu_s - before.cpu_s < 10
    assert abs(now.cpu_s - time.process_time()) < 1
    assert now.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 1_000_000 < now.resident_bytes < now.virtual_bytes


def test_a_name_with_brackets_and_spaces_confuses_nobody(tmp_path: Path) -> None:
    numbers = " ".join(str(number) for number in range(3, 53))
    (tmp_path / "stat").write_text(f"1 (a) b) ((c) {numbers}\n")
    (tmp_path / "statm").write_text("100 50 3 4 5 6 7\n")
    (tmp_path / "fd").mkdir()
    for number in range(5):
        (tmp_path / "fd" / str(number)).touch()

    found = usage(tmp_path)

    assert found is not None
    assert found.cpu_s == (14 + 15) / os.sysconf("SC_CLK_TCK")
    assert found.threads == 20
    assert found.open_fds == 4
    assert (found.virtual_bytes, found.resident_bytes) == (100 * resource.getpagesize(), 50 * resource.getpagesize())


def test_where_the_kernel_says_nothing_nothing_is_said(tmp_path: Path) -> None:
    assert usage(tmp_path) is None
