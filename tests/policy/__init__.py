"""Network policy: an oracle written from the Kubernetes API's documentation, and random worlds to ask it about."""
