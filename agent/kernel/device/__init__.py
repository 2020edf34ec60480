"""Devices that are handed to pods: VFs of SR-IOV cards, and what AF_XDP sockets have packets from."""
