"""What kube-proxy wrote on the node in each of its modes: found, and with `--replace-kube-proxy` taken away."""
