"""The one client of the Kubernetes API, and what is written there."""
