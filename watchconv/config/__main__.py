"""The child that reads a configuration file for a process that is to stay small.

    python -m watchconv.config FILE MODULE:DEMANDS SECONDS [what it is found by …]

Writes a pickle of the ``Config``, or of the ``ConfigError``, to its standard output.
"""

from __future__ import annotations

import pickle
import pkgutil
import signal
import sys

from watchconv.config.load import load_config
from watchconv.errors import ConfigError

if __name__ == "__main__":
    path, demands, seconds = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who asked says what is to be said
    signal.alarm(int(seconds))  # where nobody is left who waits for us
    try:
        answer: object = load_config(path, pkgutil.resolve_name(demands))
    except ConfigError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))
