"""One confined child process from its start to its end; knows nothing of video."""
