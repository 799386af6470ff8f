"""JSON that somebody typed to fields of the kinds they must have."""

from collections.abc import Mapping
from typing import Any

Kinds = Mapping[str, tuple[type, ...]]


def checked(fields: object, kinds: Kinds, what: str) -> dict[str, Any]:
    """The fields of a JSON object that is meant as a `what`; raises ValueError for what it cannot have."""
    if not isinstance(fields, dict):
        raise ValueError(f"a {what} is a JSON object")  # noqa: TRY004 - people's typing, not a bug
    for name, value in fields.items():
        kind = kinds.get(name, ())
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
            raise ValueError(f"a {what} has no {name} like {value!r}; it knows {', '.join(kinds)}")
    return dict(fields)
