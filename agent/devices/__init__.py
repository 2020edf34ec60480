"""The kubelet's device plugin: SR-IOV functions, accelerators and slots for AF_XDP as resources of the node.

A process of its own, ``sluiceway-devices``. ``kubelet/`` alone speaks gRPC; everything else is values, read from sysfs,
and functions of them.
"""
