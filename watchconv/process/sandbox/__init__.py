"""What a child may touch: nothing but its input, its work folder and its own program.

Every ffmpeg child is started by a thread of its own; that thread confines itself with ``confine``
and the child inherits it, while the rest of the daemon stays free. The probe worker confines its
whole process with ``confine_to_nothing``.

Guarantees, where ``support()`` names nothing missing: no file outside the ``SandboxRules`` is read,
made, changed, cut or removed; no mode, owner, time or attribute of any file is changed by path; no
network, no connection to another program's socket, no look into another process.

Does not hide that a file exists (``stat`` works everywhere), does not limit memory or time (that is
``resource.prlimit`` and ``process.py``), does not drop root's capabilities.

Errors: ``ConfigError`` from ``ready`` where ``sandbox: require`` cannot be had;
``EnvironmentTrouble`` from ``confine`` where a step fails that worked when it was tried.

The rooms: ``child`` and ``worker`` put the pieces together; ``landlock`` (files, TCP), ``seccomp``
(the rest); ``programs`` finds what an ffmpeg needs to run; ``support`` tries what
this machine can do; ``escape`` proves it.
"""
