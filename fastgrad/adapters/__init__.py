"""The interfaces of other packages, for their users: the same names, signatures and shapes."""
