"""Faults on the real program: kills, broken disks, lost mounts, hostile files."""
