"""Devices that are handed to pods: VFs of SR-IOV cards."""
