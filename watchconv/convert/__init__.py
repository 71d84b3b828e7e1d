"""Run ffmpeg as a confined child, and prove what it made."""
