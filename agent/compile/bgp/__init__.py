"""BGP: from Nodes, resources, Services and options to sessions, prefixes and BIRD's configuration."""
