"""What the documentation shows can be typed as it is."""

import re
from pathlib import Path

import pytest

from mirrord.config import load

ROOT = Path(__file__).parent.parent
KODO = '[kodo]\naccess_key = "an-access-key"\nsecret_key = "a-secret-key-of-nobody"\n'
EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_valid(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(KODO + text, "utf-8")
    file.chmod(0o600)

    assert load(file, environ={}).settings.mirror


def test_every_line_of_feeds_in_the_log_is_explained() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "mirrord" / "sources").rglob("*.py")]
    sources.append((ROOT / "mirrord" / "confirmation.py").read_text("utf-8"))
    said = {
        event for text in sources for event in re.findall(r'"((?:feed|snapshot|hook|hints|origin)\.[a-z_]+)"', text)
    }

    explained = set(re.findall(r"^\| `([a-z_.]+)`", (ROOT / "docs" / "feeds.md").read_text("utf-8"), re.MULTILINE))

    assert said <= explained | {"source.overflowed"}
