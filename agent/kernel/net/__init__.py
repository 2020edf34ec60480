"""The node's network as the agent keeps it: pods' veths, routes, the tunnel, sysctls."""
