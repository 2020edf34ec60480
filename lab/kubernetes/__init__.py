"""A real Kubernetes on the lab's machines: control plane, container runtime, kubelets, and our agent beside them."""
