"""Change feeds over HTTP as an origin: one engine, one small file for each dialect."""
