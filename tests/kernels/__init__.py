"""The shipped objects under other kernels: `make kernels` boots each in QEMU and runs guest.py there."""
