"""watchconv: drop a video into a folder, get it converted.

The map. A scan lists the inbox; settled files become rows of the journal; the
dispatcher claims a row for a free slot; the worker has an engine encode it and prove the output;
a delivery moves files by what the row intends. Imports point down this list, never up:

    cli, commands       what a person types, and the only print()
    daemon              scan loop, dispatcher, workers, deliveries, lifecycle
    intake              the inbox: scan, watch, filters, settling, admission
    encode              one attempt: plan, run ffmpeg, classify its end, verify the output
    deliver             publish the output, move the original, roll forward
    media               what a file is: the probe worker, durations, containers
    process             one confined child from start to end; knows no video
    journal             the queue and all that is remembered (SQLite)
    config              YAML to one frozen value, every error at once
    host                this machine: folders, mounts, work directories, the status file
    logs                what is said, and where it goes
    policy, views       what follows from an outcome; what is shown of the present
    names               names of files, which are bytes
    model, errors       the values and failures that all of the above share
"""

__version__ = "0.1.0"
