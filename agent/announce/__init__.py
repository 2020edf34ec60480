"""Addresses of services announced on the subnets of this node's uplinks, by one node each."""
