"""What listens, to those who wait for it; `listener.py` is what does, and slow to import."""


class ListenerUnavailable(Exception):
    """Nothing can listen there; the sentence says where and why."""
