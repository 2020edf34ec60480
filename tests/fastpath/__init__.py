"""The fast path on emulated cards: SR-IOV's functions of QEMU's igb, in a guest of its own (`make fastpath`)."""
