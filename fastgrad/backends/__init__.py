"""The backends: one file each, one line in the table of `registry`."""
