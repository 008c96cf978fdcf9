# What `unified-exec tree PID --inject` has a program run. `sys.remote_exec` does that in its main thread and in the
# namespace of its `__main__`: so this is one expression, which leaves no name there, and no docstring.
(
    "unified_exec" in __import__("sys").modules
    and __import__("unified_exec.observe.live.keeper", fromlist=["open_for_viewer"]).open_for_viewer()
)
