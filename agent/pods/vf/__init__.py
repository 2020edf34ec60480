"""VFs of pods: what each was, what it is to be, and that it comes home."""
