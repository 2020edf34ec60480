"""Upstream's own tests of a cluster's network, run against the lab's Kubernetes."""
