"""How the log is written, and where it goes."""
