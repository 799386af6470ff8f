"""A local Kodo: the server's side of the seed documents, on disk, for trying out and for tests."""
