"""The agent of one node: Kubernetes objects in, BPF maps and programs out."""
