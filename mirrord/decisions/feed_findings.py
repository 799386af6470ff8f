"""What a feed said when it was asked for its beginning, to findings."""

from dataclasses import dataclass

from mirrord.decisions.findings import Finding, Level, Sample, Subject, Wanted, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the beginning of a feed, or of the snapshot that it is compared with, says."""

    entries: int = 0
    keys: int = 0
    """How many keys these are about."""
    sample: Sample | None = None
    """The first key that is there; None: no entry says of one that it is."""
    flaw: str = ""
    """Why the first entry that is no key is none."""
    whole: bool = True
    """Whether there was no more to be read."""
    error: str = ""
    """Why it could not be read; "": it could."""
    strange: bool = False
    """Whether there was an answer, but not one of the format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Where a feed is posted to, and by whom it may be."""

    address: str
    path: str
    shown: tuple[str, ...]
    """What has to be shown with every delivery; empty: everybody may post."""


def about_feed(wanted: Wanted, subject: Subject, told: Told | Posted) -> Finding:
    if isinstance(told, Posted):
        needs = f"with {' and '.join(told.shown)}" if told.shown else "by everybody"
        says = f"is to be posted to http://{told.address}{told.path} {needs}"
        return wanted.find(subject, Level.OK, says)
    if told.error:
        format_ = "see that `format` is what is there, and that url leads to it"
        advice = format_ if told.strange else "see that url, and the token, password or headers, are right"
        return wanted.find(subject, Level.ERROR, told.error, advice)
    entries = "1 entry" if told.entries == 1 else f"{told.entries} entries"
    says = f"answers: {entries}{'' if told.whole else ' to begin with'}"
    if told.sample is not None:
        return wanted.find(subject, Level.OK, f"{says}, the first key is {short(told.sample.key)}")
    if told.keys:
        return wanted.find(subject, Level.OK, f"{says}, all of keys that are gone")
    if not told.entries:
        return wanted.find(subject, Level.OK, "answers, and names nothing yet")
    why = told.flaw or "include, exclude or key_from leave all of them out"
    advice = "see which of origin_url, key_from, pointers, include and exclude does not suit what it names"
    return wanted.find(subject, Level.WARNING, f"{says}, none of which is a key ({why})", advice)
