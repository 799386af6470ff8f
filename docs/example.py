"""config.example.toml to what its comments say of each table, format and setting."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping

Comments = Mapping[tuple[str, str], str]
"""By table and setting; the setting is empty where the comment is about a whole table, or a format of feeds."""


def comments_in(text: str) -> Comments:
    """A format's table is called by its name; what stands first counts."""
    found = dict[tuple[str, str], str]()
    for place, comment in _commented(text):
        found.setdefault(place, comment)
    return found


def _commented(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    own, heading, feeds = text.partition("\n# [[mirror]]")
    unhashed = [line.removeprefix("# ") for line in (heading + feeds).splitlines()]
    table = ""
    for line in [*own.splitlines(), *unhashed]:
        statement, comment = _split(line.removeprefix("# "))
        if line.startswith("["):
            table = line.strip("[").partition("]")[0]
            named = re.match(r'"([a-z-]+)": ', comment)
            yield (named[1] if named else table, ""), comment.removeprefix(named[0] if named else "")
        elif line.startswith("format = "):
            table = json.loads(statement.removeprefix("format = "))
        elif statement:
            yield (table, statement.partition(" ")[0]), comment


def _split(line: str) -> tuple[str, str]:
    """A line's statement and its comment; no statement: the line is prose, or a table's heading."""
    for place in (match.start() for match in re.finditer(r"#|$", line)):
        statement, comment = line[:place].strip(), line[place:].lstrip("# ").strip()
        if statement.startswith("["):
            return "", comment
        try:
            if re.match(r"\w+ = ", statement) and tomllib.loads(statement):
                return statement, comment
        except tomllib.TOMLDecodeError:
            continue
    return "", ""
