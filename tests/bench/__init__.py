"""Figures of the running program beside the targets: ``python -m tests.bench`` prints tables.

Nothing here is a test: speed depends on the machine and on who else uses it.

    __main__    the command line
    house       a daemon on fresh folders, and its end
    rivals      the same clips through xargs
    events      the moment of an exec or of a file's arrival, told by inotify
    tree        what a process and all below it use
    clips       what is converted
    figures     medians, ratios, targets
    pool, latency, resting    the sections
"""
