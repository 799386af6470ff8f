"""Why the journal cannot be used. Each sentence names the file and what to do."""


class JournalUnavailable(Exception):
    """The journal cannot be opened, read or written; nothing may be reported as recorded.

    As text it is `reason` and `action` in one sentence. `may_heal`: whether waiting can help.
    """

    def __init__(self, reason: str, *, action: str = "", may_heal: bool = False) -> None:
        super().__init__(f"{reason}; {action}" if action else reason)
        self.reason = reason
        self.action = action
        self.may_heal = may_heal


class JournalForbidden(JournalUnavailable):
    """It can be used, but not by this user."""


class JournalTooNew(JournalUnavailable):
    """A later version of mirrord wrote it."""


class JournalCorrupt(JournalUnavailable):
    """The file is damaged or is no journal."""


class JournalFull(JournalUnavailable):
    """No room for it. Its connection is closed then, which empties the WAL, and that may be all the room it needs."""


class JournalReplaced(JournalUnavailable):
    """Another file, or none, is where the journal was: what is written goes to a file that nobody will find."""


class JournalBusy(JournalUnavailable):
    """Another service works on it."""
