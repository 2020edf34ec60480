"""The command line of a node: reads pinned maps and links, with or without an agent."""
