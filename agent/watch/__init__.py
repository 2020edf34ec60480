"""Kubernetes objects and netlink in, one immutable Cluster out."""
