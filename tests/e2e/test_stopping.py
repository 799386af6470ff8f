"""How the program ends: asked to, told twice, or killed in the middle of it."""

import os
import signal
import threading

import pytest

from tests.e2e.place import GatedOrigin, Place, keys_below


def test_sigterm_lets_calls_in_flight_end_and_logs_them(gated: Place, gate: GatedOrigin) -> None:
    for n in range(8):
        gated.write(f"{n}.txt")
    gated.configure({"pace": {"concurrency": 3}})
    service = gated.run(anew=True)
    service.until_said("refresh.attempted", 8)
    gate.shut()
    for n in range(8):
        gated.write(f"new-{n}.txt")
    gate.until_asked(8 + 3)

    service.send(signal.SIGTERM)
    service.until_notified("STOPPING=1")
    gate.open()
    ended = service.wait()

    calls = gated.kodo.calls("prefetch")
    assert ended.code == 0
    assert len(calls) == 8 + 3  # nothing was begun after the signal
    assert {line["reqid"] for line in ended.said("refresh.attempted")} == {call["reqid"] for call in calls}
    assert all(line["next"] == "done" for line in ended.said("refresh.attempted"))
    assert ended.lines[-1]["event"] == "service.stopped"


def test_what_a_stopped_service_left_is_done_by_the_next(gated: Place, gate: GatedOrigin) -> None:
    gated.configure({"pace": {"concurrency": 1}})
    service = gated.run()
    gate.shut()
    gated.write("a.txt")
    gate.until_asked()
    gated.write("b.txt")

    service.send(signal.SIGTERM)
    service.until_notified("STOPPING=1")
    gate.open()
    service.wait()
    next_one = gated.run()
    gated.until_equal(next_one, {"a.txt", "b.txt"})

    assert gate.asked == ["a.txt", "b.txt"]


def test_a_second_sigterm_ends_at_once_and_the_key_stays_stale(gated: Place, gate: GatedOrigin) -> None:
    service = gated.run()
    gate.shut()
    gated.write("a.txt")
    gate.until_asked()

    service.send(signal.SIGTERM)
    service.until_notified("STOPPING=1")
    service.send(signal.SIGTERM)
    ended = service.wait()
    status = gated.start("status", "--json").wait()

    (line,) = ended.said("refresh.attempted")
    assert ended.code == 0
    assert (line["status"], line["outcome"], line["next"]) == (None, "timed-out", "retry")
    assert status.code == 1
    assert status.json["mirrors"][0]["oldest_stale_key"] == "a.txt"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_once_interrupted_ends_its_calls_and_says_by_what(
    gated: Place, gate: GatedOrigin, number: signal.Signals, code: int
) -> None:
    for n in range(200):
        gated.write(f"{n}.txt")
    gated.configure({"pace": {"concurrency": 1}})
    gate.shut()
    program = gated.start("once")
    gate.until_asked()

    program.send(number)
    gate.open()
    ended = program.wait()

    calls = gated.kodo.calls("prefetch")
    assert ended.code == code
    assert 1 <= len(calls) < 200
    assert [line["reqid"] for line in ended.said("refresh.attempted")] == [call["reqid"] for call in calls]


def test_kill_9_in_the_middle_of_a_burst_loses_nothing(place: Place) -> None:
    """What was in flight waits for ten seconds: Kodo goes on pulling, and of two pulls the last to end wins."""
    place.kodo.fail(operation="prefetch", delay_s=0.05, times=30)
    place.kodo.fail(operation="prefetch", delay_s=5, times=8)  # these it is killed in
    place.configure({"pace": {"concurrency": 8}})
    service = place.run(anew=True)

    def publish() -> None:
        for _ in range(2):
            for n in range(150):
                place.write(f"{n % 10}/{n}.txt", os.urandom(300))

    publishing = threading.Thread(target=publish)
    publishing.start()
    service.until_said("refresh.attempted", 30)
    publishing.join()  # what is changed again while nobody runs is asked for at its start, whatever still pulls it
    service.send(signal.SIGKILL)
    killed = service.wait()
    place.write("while it was down.txt")
    place.write("0/0.txt", "newest")
    keys = keys_below(place.www, place.www)
    left = place.differing(keys)
    restarted = place.run()
    place.until_equal(restarted, keys)
    stopped = restarted.stop()
    finished = place.once()

    assert (stopped.code, finished.code) == (0, 0)
    assert killed.code == -signal.SIGKILL
    assert len(left) > 20
    assert stopped.said("claims.recovered")[0]["level"] == "warning"
    assert {key: most for key, most in place.kodo.max_overlap("docs").items() if most > 1} == {}
    lines = [line for each in (killed, stopped, finished) for line in each.said("refresh.attempted")]
    assert {line["reqid"] for line in lines} <= {call["reqid"] for call in place.kodo.calls("prefetch")}


def test_sigusr1_shows_where_every_thread_is_and_ends_nothing(place: Place) -> None:
    service = place.run()

    service.send(signal.SIGUSR1)
    service.until(lambda: any("most recent call first" in line for line in service.noise), "the stacks")
    place.write("a.txt")
    place.until_equal(service, {"a.txt"})

    assert service.stop().code == 0
