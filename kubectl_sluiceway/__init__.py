"""``kubectl sluiceway``: the agents of a cluster, reached by kubectl from wherever that runs.

Of Python's own library alone: one file that runs where nothing of the project is installed.
"""
