"""What a child may touch: nothing but its input, its work folder and its own program.

The thread that starts an ffmpeg confines itself and the child inherits it, while the rest of the
daemon stays free. The probe worker confines its whole process.

Where ``support()`` names nothing missing: no file outside the ``SandboxRules`` is read, made,
changed, cut or removed; no mode, owner, time or attribute of any file is changed by path; no
network, no connection to another program's socket, no look into another process. That a file exists
is not hidden (``stat`` works everywhere), root's capabilities stay, and memory and time have limits
of their own (``process.spawn``, ``process.child``).

``rules`` puts the pieces together and proves that they hold: ``kernel`` (Landlock: files and TCP)
and ``seccomp`` (the rest); ``programs`` lists what an ffmpeg needs to run; ``support`` tries what
this machine can do.
"""
