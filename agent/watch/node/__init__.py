"""This node itself: its devices, queues, ports, and the ranges that are not masqueraded."""
