"""watchconv: drop a video into a folder, get it converted.

The map of the house. A file comes in through ``intake``, is worked on in ``convert`` and
leaves through ``deliver``; ``journal`` remembers each step before it is taken, ``daemon``
ties the pieces together. Imports point down this list, never up:

    cli, commands       what a person types, and the only print()
    daemon              workers, signals, recovery, the stop ladder
    extras              optional edges; the core never imports them
    intake              look at the inbox: what is new, whole and left alone?
    convert             run ffmpeg as a confined child, and prove what it made
    deliver             publish the result, move the original, roll forward
    journal, live       what is remembered (SQLite), what is shown (one small file)
    requests            what people asked of jobs, noted in the journal until it is done
    store, schema       the file behind the journal, and its tables
    rows                a job as a row of them
    judge               what an attempt's outcome means for its job
    folders             the four folders: there, writable, mounted, locked
    config, names       the configuration and the profiles; names as bytes
    mounts              what is mounted where, and what the kernel promises there
    logs, journald      what is said, and where it goes
    model, errors       words that all of the above share
"""

__version__ = "0.1.0"
