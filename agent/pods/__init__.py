"""The pods' interfaces of this node: made, unmade, found again after a restart."""
