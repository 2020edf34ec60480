"""Programs, links, routes and sysctls: the agent's hands in the kernel."""
