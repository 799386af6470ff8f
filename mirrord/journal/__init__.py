"""Where rows survive a restart: one row per key, the cursors of feeds, what each mirror's coverage is."""
