"""What to do about it: pure functions and tables. Time and chance are arguments; nothing here waits."""
