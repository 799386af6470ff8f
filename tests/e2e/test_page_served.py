"""The page of the real service: what it did is there to be found, and what a person asks for there is done."""

import socket
from typing import TYPE_CHECKING, Any

import httpx

from tests.e2e.place import Place, Program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "open-sesame-to-the-page"
HOSTILE = (
    "<script>alert(1)</script>.html",
    "a\nb.txt",
    "%2e%2e\\",
    "'\"><img src=x onerror=alert(1)>",
    "\u202egnp.exe",
)


def served(place: Place, **status: Any) -> str:
    """The page's address; a token is needed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    place.configure({"retry": {"max_attempts": 1}}, status={"listen": address, "token": TOKEN} | status)
    return f"http://{address}"


def parked(place: Place, service: Program, keys: tuple[str, ...]) -> dict[str, str]:
    """The X-Reqid of each key's only attempt."""
    for key in keys:
        (place.www / key).parent.mkdir(parents=True, exist_ok=True)
        (place.www / key).write_bytes(b"x")
    lines = service.until_said("refresh.attempted", len(keys), next="park")
    service.until(lambda: not place.report().settled, "the journal has them")
    return {line["key"]: line["reqid"] for line in lines}


def opened(browser: "Browser", url: str) -> "Page":
    context = browser.new_context(http_credentials={"username": "anybody", "password": TOKEN})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(url)
    return page


def test_a_parked_key_is_found_its_x_reqid_read_and_asked_for_again(place: Place, browser: "Browser") -> None:
    place.kodo.fail(operation="prefetch", status=404)
    url = served(place)
    service = place.run()
    reqids = parked(place, service, ("guide/old.html", "guide/other.html"))
    page = opened(browser, url)

    page.get_by_label("Find a key").fill("guide/other")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="guide/other.html").first.click()
    shown = page.locator(".reqid code").first.inner_text()
    place.kodo.heal()
    page.get_by_role("button", name="Retry").click()
    page.get_by_text("It was made due again").wait_for()
    place.until_equal(service, {"guide/other.html"})
    page.context.close()

    assert shown == reqids["guide/other.html"]
    assert [line["key"] for line in service.said("page.asked")] == ["guide/other.html"]


def test_hostile_names_reach_the_page_as_they_are_and_harm_nobody(place: Place, browser: "Browser") -> None:
    place.kodo.fail(operation="prefetch", status=404)
    url = served(place)
    service = place.run()
    parked(place, service, HOSTILE)
    minded: list[str] = []
    page = opened(browser, url)
    page.on("dialog", lambda dialog: minded.append(dialog.message))
    page.on("pageerror", lambda error: minded.append(str(error)))

    page.goto(f"{url}/mirrors/docs")
    text = page.locator("main").inner_text()
    links = page.locator("main a[href*=explain]").evaluate_all("all => all.map(each => each.href)")
    for link in dict.fromkeys(links):
        page.goto(link)
        assert "parked" in page.locator("main").inner_text()
    page.context.close()

    assert minded == []
    assert "<script>alert(1)</script>.html" in text
    assert "a\\nb.txt" in text
    assert len(dict.fromkeys(links)) == len(HOSTILE)


def test_nobody_without_the_token_sees_anything(place: Place) -> None:
    url = served(place)
    service = place.run()

    answers = [httpx.get(f"{url}{path}", trust_env=False) for path in ("/", "/metrics", "/healthz", "/readyz", "/x")]

    assert [each.status_code for each in answers] == [401, 401, 200, 200, 401]
    assert "docs" not in "".join(each.text for each in answers)
    assert TOKEN not in "".join(map(str, service.lines))
