"""Interfaces of pods that are made of network devices of the node."""
