"""Who evaluates f at many points: here, threads, processes, anybody's executor; with a journal, with progress."""
