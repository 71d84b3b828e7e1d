"""Optional edges: one file is one extra. The core never imports this room."""
