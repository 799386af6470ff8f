"""Where changes come from: directories watched and scanned, feeds followed."""
