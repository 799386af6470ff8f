"""Kodo, Qiniu's object storage, seen by a caller: what to say (no I/O), to whom, and saying it."""
