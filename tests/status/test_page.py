"""What the page shows, without a browser: every text as it is and as text only, whatever anybody called a file."""

from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mirrord.decisions.explaining import plain
from mirrord.journal.report import MirrorReport
from mirrord.log import masked
from mirrord.model.attempt import Outcome
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.row import State
from mirrord.model.step import Park, Retry
from mirrord.status.access import HEADERS
from mirrord.status.page import complete, shown, spoken
from tests.journal.ledger import MIRROR, Ledger, at, change, ended
from tests.status.hostile import names
from tests.status.shown import NOW_S, Shown
from tests.status.shown import shown as showing
from tests.status.standings import mirror

TOKEN = "t0ken"
_ALLOWED = """
    html head meta title link script body header main footer section nav a form label input select option button p h1
    h2 dl div dt dd span bdi time code table caption thead tbody tr th td ol ul li details summary svg g rect line
    text desc
"""
ALLOWED = frozenset(_ALLOWED.split())
SCRIPT = {"src": "/assets/page.js", "defer": None}

any_text = st.text(st.characters(), max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "</title><script>",
        "&lt;",
        "\r\n",
        "\0",
        "a b  c ",
    ]
)


class _Read(HTMLParser):
    """The elements that a browser would make, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.keys: list[str] = []
        self._within = 0
        self.feed("".join([html]))  # no Markup any more, which would escape what it is joined with
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "bdi":
            self.keys.append("")
        self._within += tag == "bdi"

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag == "bdi"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._within:
            self.keys[-1] += data


def _read(answer: httpx.Response) -> _Read:
    """What it shows, once it is sure that nothing in it is anybody else's than ours."""
    read = _Read(answer.text)
    assert {tag for tag, _ in read.elements} <= ALLOWED
    assert [attributes for tag, attributes in read.elements if tag == "script"] == [SCRIPT]
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert (attributes.get("href") or "/").startswith("/")
    assert [tag for tag, _ in read.elements].count("main") == 1
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    return read


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Shown]:
    with showing(tmp_path, masked=masked) as found:
        yield found


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with showing(tmp_path_factory.mktemp("page"), token=TOKEN, masked=masked) as found:
        yield found


@pytest.fixture
def client(page: Shown) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.url, trust_env=False) as found:
        yield found


@pytest.fixture(scope="module")
def trusted(long_lived: Shown) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=long_lived.url, headers=long_lived.bearer, trust_env=False) as found:
        yield found


def _park(ledger: Ledger, *keys: str, seconds: float = NOW_S - 500, mirror: str = MIRROR) -> None:
    ledger.record(*(change(key, seconds=seconds) for key in keys), mirror=mirror)
    ends = [
        ended(
            claim,
            Park(),
            seconds + 1,
            status=404,
            outcome=Outcome.ORIGIN_MISSING,
            reqid=f"req-{number}",
            error="no such file",
        )
        for number, claim in enumerate(ledger.claim(seconds, mirror=mirror))
    ]
    ledger.settle(*ends)


# -- texts ---------------------------------------------------------------------------------------------


@given(any_text)
def test_a_key_is_shown_as_it_can_be_read_and_isolated(key: str) -> None:
    read = _Read(shown(key))

    assert read.keys == [plain(key)]
    assert {tag for tag, _ in read.elements} <= {"bdi", "span"}


def test_an_escape_looks_unlike_the_characters_that_it_is_spelled_with() -> None:
    assert shown("a\nb") == '<bdi class="key">a<span class="control">\\n</span>b</bdi>'
    assert shown("a\\nb") == '<bdi class="key">a\\nb</bdi>'


@given(key=any_text, error=any_text, reqid=any_text)
@example(key="\udcff", error="\ud800", reqid="\udfff")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_attempted_is_text_whatever_it_says(
    long_lived: Shown, trusted: httpx.Client, key: str, error: str, reqid: str
) -> None:
    long_lived.say("warning", key=key, error=error, reqid=reqid, status=478, outcome="origin-failing", next="retry")
    long_lived.say("warning", event=error, key=key, reqid=reqid, reason=key, action=error, mirror="docs", other=reqid)

    read = _read(trusted.get("/"))

    assert plain(masked({"key": key})["key"]) in read.keys
    assert plain(masked({"error": error})["error"]) in read.text


@given(any_text.filter(lambda text: text.isprintable() or text.encode("utf-8", "ignore").decode() == text))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_survives_its_address(trusted: httpx.Client, key: str) -> None:
    answer = trusted.get(f"/mirrors/docs/explain?key={quote(key, safe='')}")

    assert answer.status_code == 404
    assert _read(answer).keys[0] == plain(key)


@given(any_text)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_searched_for_stands_in_its_field_and_nowhere_else_as_markup(trusted: httpx.Client, text: str) -> None:
    given = text.encode("utf-8", "replace").decode()

    read = _read(trusted.get("/", params={"q": given, "all": "1"}))

    (field,) = [attributes for tag, attributes in read.elements if attributes.get("name") == "q"]
    assert field["value"] == given.replace("\r\n", "\n").replace("\r", "\n") or field["value"] == given


@pytest.mark.parametrize(
    ("line", "command", "reqid", "text"),
    [
        ("  mirrord retry docs 'a b'", "mirrord retry docs 'a b'", None, ""),
        ("  X-Reqid abc, asked 10:00:00Z by Kodo's clock", None, "abc", ", asked 10:00:00Z by Kodo's clock"),
        ("  X-Reqid abc", None, "abc", ""),
        ("  no such file", None, None, "no such file"),
    ],
)
def test_a_line_of_a_story_says_what_can_be_copied(
    line: str, command: str | None, reqid: str | None, text: str
) -> None:
    found = spoken(line)

    assert (found.command, found.reqid, found.text, found.indented) == (command, reqid, text, True)


# -- is it complete ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "coverage", "kind", "word", "says"),
    [
        ({}, Coverage(complete_as_of=at(1)), "good", "Complete", "Every key is as the origin has it."),
        ({}, Coverage(), "busy", "Not complete yet", "The origin has not been seen whole."),
        (
            {State.STALE: 2, State.CLAIMED: 1},
            Coverage(complete_as_of=at(1)),
            "busy",
            "Catching up",
            "3 keys behind.",
        ),
        ({State.HELD: 1}, Coverage(complete_as_of=at(1)), "busy", "Waits for a person", "1 removal held for a person."),
        ({State.PARKED: 1}, Coverage(complete_as_of=at(1)), "bad", "Not complete", "1 key given up."),
        (
            {},
            Coverage(complete_as_of=at(1), lost_since=at(5), lost_reason="the queue overflowed"),
            "bad",
            "Not complete",
            "Changes since 00:00:05Z (5 s ago) may have been missed: the queue overflowed.",
        ),
    ],
    ids=["complete", "not seen whole", "stale", "held", "parked", "lost"],
)
def test_whether_it_is_complete_is_said_first(
    keys: dict[State, int], coverage: Coverage, kind: str, word: str, says: str
) -> None:
    report = MirrorReport(
        mirror="docs",
        keys={**dict.fromkeys(State, 0), **keys},
        kept=0,
        oldest_stale_key=None,
        oldest_stale_since=None,
        coverage=coverage,
    )

    found = complete(coverage, report, at(10))

    assert (found.kind, found.word, found.sentence) == (kind, word, says)


# -- pages ---------------------------------------------------------------------------------------------


def test_the_overview_answers_what_is_asked_first(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "old/1.zip", "old/2.zip")
    page.say(key="new/1.zip", reqid="fresh-reqid")
    origin = Condition(name="origin", since=at(NOW_S - 90), until=None, reason="5 of 10 failed", reqid="c-reqid")
    page.mirrors = (mirror(coverage=Coverage(complete_as_of=at(NOW_S - 60)), conditions=(origin,)),)

    text = " ".join(_read(client.get("/")).text.split())

    assert "Not complete prefetch into newdocs" in text
    assert "parked2" in text
    assert "2 keys given up. The origin was seen whole as of 11:05:40Z (60 s ago)." in text
    assert "Oldest: old/1.zip, not fresh for 8 min." in text
    assert "Breaker of the origin open since 11:05:10Z (90 s): 5 of 10 failed, X-Reqid c-reqid" in text
    assert "404, the origin has no such resource: no such file" in text
    assert "req-0" in text
    assert "fresh-reqid" in text


def test_a_mirror_is_shown_with_its_own_attempts_only(page: Shown, client: httpx.Client) -> None:
    page.mirrors = (mirror(), mirror("other"))
    page.say(key="mine")
    page.say(key="theirs", mirror="other")
    page.say("warning", event="feed.stuck", mirror="other")

    read = _read(client.get("/mirrors/docs"))

    assert "mine" in read.keys
    assert "theirs" not in read.keys
    assert "feed.stuck" not in read.text


def test_a_mirror_that_a_reload_took_out_disappears(page: Shown, client: httpx.Client) -> None:
    page.mirrors = (mirror(), mirror("other"))
    page.say(key="theirs", mirror="other")
    before = "theirs" in _read(client.get("/")).keys

    page.mirrors = (mirror(),)

    assert before
    assert "theirs" not in _read(client.get("/")).keys
    assert client.get("/mirrors/other").status_code == 404


def test_ten_thousand_hostile_names_are_shown_page_by_page_and_found(page: Shown, client: httpx.Client) -> None:
    keys = names(10_000)
    page.mirrors = tuple(mirror(f"m{number}") for number in range(10))
    for number in range(10):
        _park(page.ledger, *keys[number::10], mirror=f"m{number}")

    seen, address = list[str](), "/mirrors/m0"
    while address:
        read = _read(client.get(address))
        seen += read.keys
        following = [attributes["href"] or "" for tag, attributes in read.elements if attributes.get("rel") == "next"]
        following += [f"/mirrors/m{int(address[10]) + 1}"] if address[10] != "9" else []
        address = following[0].partition("#")[0] if following else ""

    assert {plain(key) for key in keys} <= set(seen)
    for key in keys[5000:5020]:
        found = client.get("/", params={"q": key})
        assert found.status_code == 303
        assert _read(client.get(found.headers["Location"])).keys[0] == plain(key)


def test_a_part_of_a_key_finds_all_that_have_it(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "a/index.html", "b/index.html", "c.txt")

    read = _read(client.get("/", params={"q": "index"}))

    assert read.keys == ["index", "a/index.html", "b/index.html"]
    assert "req-1" in read.text


def test_a_whole_key_leads_straight_to_its_story_unless_all_are_wanted(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "a", "ab")

    straight = client.get("/", params={"q": "a"})
    everything = client.get("/", params={"q": "a", "all": "1"})

    assert (straight.status_code, straight.headers["Location"]) == (303, "/mirrors/docs/explain?key=a")
    assert _read(everything).keys == ["a", "a", "ab"]


def test_a_story_has_the_x_reqid_and_what_to_type(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "it's")

    read = _read(client.get("/mirrors/docs/explain", params={"key": "it's"}))

    copied = [attributes["data-copy"] for _, attributes in read.elements if "data-copy" in attributes]
    assert copied == ["req-0", """mirrord retry docs 'it'"'"'s'"""]
    assert not [tag for tag, attributes in read.elements if tag == "form" and attributes.get("method") == "post"]


def test_an_unknown_key_shows_its_neighbours(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "a", "b", "d", "e")

    answer = client.get("/mirrors/docs/explain", params={"key": "c"})

    assert answer.status_code == 404
    assert _read(answer).keys == ["c", "a", "b", "d", "e"]


@pytest.mark.parametrize("address", ["/", "/mirrors/docs", "/mirrors/docs/explain?key=a", "/?q=a"])
def test_the_page_comes_though_the_journal_does_not(page: Shown, client: httpx.Client, address: str) -> None:
    page.different = {"trouble": "database or disk is full"}
    for each in page.ledger.file.parent.glob("journal.db*"):
        each.unlink()
    page.ledger.file.write_bytes(b"no database" * 1000)

    answer = client.get(address)

    assert answer.status_code == 200
    text = _read(answer).text
    assert "The journal could not be read" in text
    assert "database or disk is full" in text


def test_what_the_service_says_of_itself_is_told(page: Shown, client: httpx.Client) -> None:
    page.different = {"ready": False, "stuck": ("docs",), "generation": 3}

    text = _read(client.get("/")).text

    assert "The service is starting" in text
    assert "docs takes no turns any more" in text
    assert "settings taken 3 times" in text


def test_secrets_are_covered_in_what_is_shown(tmp_path: Path) -> None:
    with showing(tmp_path, masked=lambda fields: dict.fromkeys(fields, "***")) as page:
        page.say(key="private-1", error="private-2", reqid="private-3")
        page.say("error", event="private.4", token="private-5")

        text = httpx.get(page.url, trust_env=False).text

    assert "private" not in text
    assert "***" in text


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [("GET", "/nothing", 404), ("GET", "/mirrors/none", 404), ("POST", "/", 405), ("POST", "/assets/page.css", 405)],
)
def test_what_is_not_there_is_said_in_the_same_form(
    trusted: httpx.Client, method: str, address: str, status: int
) -> None:
    answer = trusted.request(method, address)

    assert answer.status_code == status
    assert "All mirrors" in _read(answer).text


@pytest.mark.parametrize("address", ["/", "/mirrors/docs", "/assets/page.css", "/nothing"])
def test_head_says_the_same_without_the_page(trusted: httpx.Client, address: str) -> None:
    got, head = trusted.get(address), trusted.head(address)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("name", ["page.css", "page.js", "mark.svg"])
def test_nothing_is_taken_from_elsewhere(trusted: httpx.Client, name: str) -> None:
    answer = trusted.get(f"/assets/{name}")

    assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_page_number_may_be_any_text(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "a")

    assert [_read(client.get(f"/mirrors/docs?page={text}")).keys.count("a") for text in ("1", "x", "-1", "9" * 30)] == [
        3
    ] * 4


# -- what is asked for ---------------------------------------------------------------------------------


@pytest.fixture
def armed(tmp_path: Path) -> Iterator[tuple[Shown, httpx.Client]]:
    with (
        showing(tmp_path, token=TOKEN) as page,
        httpx.Client(base_url=page.url, headers=page.bearer, trust_env=False) as client,
    ):
        yield page, client


def test_a_parked_key_is_made_due_by_its_button(armed: tuple[Shown, httpx.Client]) -> None:
    page, client = armed
    _park(page.ledger, "a\nb")
    read = _read(client.get("/mirrors/docs/explain", params={"key": "a\nb"}))
    (action,) = [attributes["action"] or "" for tag, attributes in read.elements if attributes.get("method") == "post"]

    answer = client.post(action)

    assert answer.status_code == 303
    assert "It was made due again" in _read(client.get(answer.headers["Location"])).text
    assert page.ledger.states() == {"a\nb": "stale"}


def test_a_form_may_name_the_key(armed: tuple[Shown, httpx.Client]) -> None:
    page, client = armed
    _park(page.ledger, "a", "b")

    client.post("/mirrors/docs/retry", data={"key": "b"})

    assert page.ledger.states() == {"a": "parked", "b": "stale"}


def test_a_fresh_key_is_asked_for_anew(armed: tuple[Shown, httpx.Client]) -> None:
    page, client = armed
    page.ledger.record(change("a"))
    page.ledger.settle(*(ended(claim, seconds=2) for claim in page.ledger.claim(1)))

    before = page.ledger.states()
    client.post("/mirrors/docs/refresh", data={"key": "a"})

    assert (before, page.ledger.states()) == ({"a": "fresh"}, {"a": "stale"})


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": {"key": "unknown"}}, 303),
        ({"data": {"other": "a"}}, 400),
        ({"content": b"key=%ff"}, 400),
        ({"content": b"\xff"}, 400),
        ({"content": b"key=" + b"a" * 20_000}, 413),
        ({"data": {"key": "a"}, "headers": {"Origin": "http://evil.example"}}, 403),
        ({"data": {"key": "a"}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
        ({"data": {"key": "a"}, "headers": {"Authorization": "Bearer wrong"}}, 401),
    ],
    ids=["unknown", "no key", "no text", "no form", "too long", "elsewhere", "cross-site", "wrong token"],
)
def test_anything_else_that_is_posted_changes_nothing(
    armed: tuple[Shown, httpx.Client], sent: dict[str, object], status: int
) -> None:
    page, client = armed
    _park(page.ledger, "a")

    answer = client.post("/mirrors/docs/retry", **sent)  # type: ignore[arg-type]  # any of them

    assert answer.status_code == status
    assert page.ledger.states() == {"a": "parked"}


def test_a_retry_is_not_offered_for_what_is_not_parked(armed: tuple[Shown, httpx.Client]) -> None:
    page, client = armed
    page.ledger.record(change("a"))
    page.ledger.settle(*(ended(claim, Retry(timedelta(9)), 2) for claim in page.ledger.claim(1)))

    read = _read(client.get("/mirrors/docs/explain", params={"key": "a"}))

    assert [attributes["action"] for _, attributes in read.elements if attributes.get("method") == "post"] == [
        "/mirrors/docs/refresh?key=a"
    ]


def test_without_a_token_nothing_is_offered_or_done(page: Shown, client: httpx.Client) -> None:
    _park(page.ledger, "a")

    answer = client.post("/mirrors/docs/retry", data={"key": "a"}, headers={"Origin": page.url})

    assert answer.status_code == 403
    assert page.ledger.states() == {"a": "parked"}


def test_what_is_posted_to_hooks_is_not_ours(trusted: httpx.Client) -> None:
    answer = trusted.get("/hooks/docs")

    assert answer.status_code == 404
    assert "Content-Security-Policy" not in answer.headers


def test_what_a_cdn_is_still_to_be_told_is_shown_with_what_is_left_of_its_day(tmp_path: Path) -> None:
    with showing(tmp_path, mirrors=(mirror(cdn_surplus=12),)) as page:
        text = " ".join(_read(httpx.get(page.url, trust_env=False)).text.split())

    assert "CDN: 0 keys still to be told of; 12 URLs left of today's quota." in text


def test_without_a_cdn_nothing_is_said_of_one(tmp_path: Path) -> None:
    with showing(tmp_path) as page:
        text = _read(httpx.get(page.url, trust_env=False)).text

    assert "CDN" not in text
