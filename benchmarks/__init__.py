"""What fastgrad is measured on and against: one table of problems, asv's suite, and single questions."""
