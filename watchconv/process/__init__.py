"""One confined child from its start to its end; nothing here knows what a video is."""
