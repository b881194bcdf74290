"""Short measurements on this machine: one file for each kind of work, all run by `measure`.

Each probe does what a stage does on a little made-up data for about a second, with the same library code where
possible. Slow imports stay inside functions.
"""
