"""Owner lanes: a scalar numba function of local terms, run once for a few colours of coordinates at a time."""
