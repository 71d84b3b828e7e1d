"""The queue and all that is remembered, in one SQLite file."""
