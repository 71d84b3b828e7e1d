"""This machine: folders, mounts, work directories, the status file."""
