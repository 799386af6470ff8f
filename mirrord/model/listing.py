"""ListedObject: one object as a listing of its bucket shows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """What the bucket holds under `key`."""

    key: str
    size_bytes: int
    hash: str
    put_time: int
    """When it was stored: 100 ns ticks since 1970 (Kodo API, "list"); larger than 2^53, never through a float."""

    @property
    def hash_is_of_content(self) -> bool:
        """Whether the hash follows from the content alone, not from how that was uploaded (0x9E, which begins `n`)."""
        return self.hash[:1] in {"F", "l"}  # 0x16 and 0x96 in base64
