"""Objects of the Kubernetes API, from bytes to model values."""
