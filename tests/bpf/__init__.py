"""The shipped objects on packets, one at a time (BPF_PROG_TEST_RUN)."""
