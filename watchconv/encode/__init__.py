"""One attempt at one job: plan, run ffmpeg, classify its end, verify the output."""
