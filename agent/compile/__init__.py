"""From a Cluster to the content of the maps: pure functions, no clock, no randomness, no I/O."""
