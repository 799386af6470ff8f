"""Why the journal cannot be used. Each sentence names the file and what to do."""


class JournalUnavailable(Exception):
    """The journal cannot be opened, read or written; nothing may be reported as recorded."""


class JournalTooNew(JournalUnavailable):
    """A later version of mirrord wrote it."""


class JournalCorrupt(JournalUnavailable):
    """The file is damaged or is no journal."""


class JournalBusy(JournalUnavailable):
    """Another service works on it."""
