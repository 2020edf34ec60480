"""What the agent offers to others: the CNI socket for container runtimes, metrics and health over HTTP."""
