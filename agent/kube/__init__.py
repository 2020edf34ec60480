"""What the agent tells the Kubernetes API, and how it speaks with it."""
