"""The page in a browser: what a person looks for is found, it keeps itself up to date, and no name does any harm."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mirrord.decisions.explaining import plain
from mirrord.model.attempt import Outcome
from mirrord.model.step import Park
from tests.journal.ledger import Ledger, change, ended
from tests.status.hostile import names
from tests.status.shown import NOW_S, Shown, aside, shown
from tests.status.standings import mirror

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "t0ken"
WITHIN_MS = 20_000
LONGEST = f"/mirrors/hostile/explain?key={'w' * 700}16"
NARROW = {"width": 320, "height": 700}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Shown]:
    """What shows the page; a key that is given up, and names that a file may have."""
    with shown(tmp_path, token=TOKEN, mirrors=(mirror(), mirror("hostile", bucket="newhostile"))) as found:
        _park(found.ledger, "docs", ["guide/old.html", "guide/other.html"])
        _park(found.ledger, "hostile", names(100))
        yield found


Opening = Callable[..., "Page"]


@pytest.fixture
def opened(service: Shown, browser: "Browser") -> Iterator[Opening]:
    """Opens an address of the page; nothing that the browser minds may have come of it in the end."""
    minded: list[str] = []

    with _contexts(browser) as context:

        def open_(address: str, *, host: str = "127.0.0.1", **options: Any) -> "Page":
            page = context(http_credentials={"username": "anybody", "password": TOKEN}, **options).new_page()
            page.set_default_timeout(WITHIN_MS)
            page.clock.install()
            page.on("console", lambda said: minded.append(said.text) if _matters(said) else None)
            page.on("pageerror", lambda error: minded.append(str(error)))
            page.on("dialog", lambda dialog: minded.append(f"dialog: {dialog.message}"))
            page.goto(service.url.replace("127.0.0.1", host) + address)
            return page

        yield open_
    assert minded == []


def _matters(said: Any) -> bool:
    return said.type in {"error", "warning"} and "Opener-Policy header has been ignored" not in said.text  # no https


def _five_seconds_pass(page: "Page") -> None:
    page.clock.run_for(5100)


@contextmanager
def _contexts(browser: "Browser") -> Iterator[Callable[..., Any]]:
    made = list[Any]()

    def make(**options: Any) -> Any:
        made.append(browser.new_context(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def _park(ledger: Ledger, mirror: str, keys: list[str]) -> None:
    def park() -> None:
        ledger.record(*(change(key, seconds=NOW_S - 500) for key in keys), mirror=mirror)
        settled = [
            ended(claim, Park(), NOW_S - 399, status=404, outcome=Outcome.ORIGIN_MISSING, reqid=f"reqid-of-{number}")
            for number, claim in enumerate(ledger.claim(NOW_S - 400, mirror=mirror))
        ]
        ledger.settle(*settled)

    aside(park)


@pytest.mark.parametrize("scripted", [True, False], ids=["with JavaScript", "without"])
def test_a_parked_key_is_found_by_search_and_its_x_reqid_read(opened: Opening, *, scripted: bool) -> None:
    page = opened("/", java_script_enabled=scripted)

    page.get_by_label("Find a key").fill("other")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="guide/other.html").click()

    assert page.locator("h1").inner_text().split() == ["docs", "guide/other.html"]
    assert page.locator(".reqid code").inner_text() == "reqid-of-1"
    assert "mirrord retry docs guide/other.html" in page.locator("main").inner_text()


def test_a_new_attempt_appears_by_itself_and_what_is_being_done_is_left_alone(service: Shown, opened: Opening) -> None:
    service.say(key="first", ago_s=5)
    page = opened("/", viewport={"width": 900, "height": 400})
    page.locator(".attempts tr", has_text="first").locator("a", has_text="first").focus()
    page.get_by_text("The same in numbers").click()
    page.get_by_label("Find a key").fill("half a wo")
    page.locator(".attempts tr", has_text="first").locator("a", has_text="first").focus()
    before = page.evaluate("scrollY")

    service.say(key="second", reqid="reqid-of-second")
    _five_seconds_pass(page)
    page.locator(".attempts tr", has_text="second").wait_for()

    assert page.locator(".attempts tr", has_text="second").locator("code").inner_text() == "reqid-of-second"
    assert page.evaluate("document.activeElement.textContent") == "first"
    assert page.get_by_label("Find a key").input_value() == "half a wo"
    assert page.locator("details").get_attribute("open") is not None
    assert page.evaluate("scrollY") == pytest.approx(before, abs=80)  # but for the row that has come above


def test_text_that_is_selected_is_not_taken_away(service: Shown, opened: Opening) -> None:
    page = opened("/")
    page.locator(".card h2").first.select_text()

    service.say(key="later")
    _five_seconds_pass(page)
    page.get_by_text("paused while text is selected").wait_for()
    paused = page.locator(".attempts").count()
    page.evaluate("document.getSelection().removeAllRanges()")
    _five_seconds_pass(page)
    page.locator(".attempts tr", has_text="later").wait_for()

    assert paused == 0


def test_a_service_that_is_gone_is_said_to_be(service: Shown, browser: "Browser") -> None:
    with _contexts(browser) as context:
        page = context(http_credentials={"username": "anybody", "password": TOKEN}).new_page()
        page.clock.install()
        page.goto(service.url)

        page.route("**/*", lambda route: route.abort())
        _five_seconds_pass(page)
        page.get_by_text("not reachable since").wait_for(timeout=WITHIN_MS)
        page.unroute("**/*")
        _five_seconds_pass(page)
        page.locator("#live", has_text="as of").wait_for(timeout=WITHIN_MS)

        assert page.locator("html.stale-page").count() == 0


def test_an_x_reqid_is_copied_at_a_click(opened: Opening) -> None:
    page = opened("/mirrors/docs", permissions=["clipboard-read", "clipboard-write"])

    page.locator("tr", has_text="guide/other.html").get_by_role("button").click()
    page.locator(".copy.done").wait_for()

    assert page.evaluate("navigator.clipboard.readText()") == "reqid-of-1"


@pytest.mark.parametrize("host", ["127.0.0.1", "status.example"])
def test_a_parked_key_is_asked_for_again_by_a_button(service: Shown, opened: Opening, host: str) -> None:
    page = opened("/mirrors/docs/explain?key=guide/old.html", host=host)

    page.get_by_role("button", name="Retry").click()
    page.get_by_text("It was made due again").wait_for()

    assert page.locator(".state").inner_text() == "stale"


def test_no_other_site_can_press_that_button(service: Shown, browser: "Browser") -> None:
    with _contexts(browser) as context:
        page = context(http_credentials={"username": "anybody", "password": TOKEN}).new_page()
        page.goto(service.url)  # from now on the browser shows the token by itself
        action = f"{service.url}/mirrors/docs/retry?key=guide/old.html"
        form = f'<form method="post" action="{action}"><button>press</button></form>'
        page.route("http://another.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
        page.goto("http://another.example/")

        with page.expect_response(lambda answer: "/retry" in answer.url) as answered:
            page.get_by_role("button").click()

        assert answered.value.status == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["/", "/mirrors/hostile", LONGEST], ids=["overview", "mirror", "story"])
def test_hostile_names_do_no_harm_on_a_narrow_screen(
    service: Shown, opened: Opening, address: str, scheme: str
) -> None:
    for number, name in enumerate(names(20)):
        service.say(
            "warning", mirror="hostile", key=name, error=name, outcome="origin-missing", next="park", status=404
        )
        service.say("error", event="a.b", mirror="hostile", reason=name, other=name, ago_s=number)

    page = opened(address, viewport=NARROW, color_scheme=scheme)

    assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    assert page.locator("main").count() == 1
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object").count() == 0


def test_dark_and_light_are_the_readers_choice(opened: Opening) -> None:
    grounds = [
        opened("/", color_scheme=scheme).evaluate("getComputedStyle(document.documentElement).backgroundColor")
        for scheme in ("light", "dark")
    ]

    assert grounds == ["rgb(251, 251, 249)", "rgb(20, 23, 26)"]


def test_hostile_names_read_as_they_are(opened: Opening) -> None:
    page = opened("/mirrors/hostile")

    found = page.locator(".rows .key").all_inner_texts()

    assert sorted(found) == sorted(plain(name) for name in names(100))
