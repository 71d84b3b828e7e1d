"""watchconv as a service of a real systemd, in a throw-away box of ``../shared``."""
