"""What the agent offers over HTTP and in files: metrics, health, its report."""
