"""A cluster on one machine: each node is a set of namespaces with an agent of its own, each pod a network namespace.

From the top: `app` (the commands) and `demo`; `lab` (up, down, apply, run); `pods`, `runtime`, `agents`, `api`, which do
what container runtime, kubelet and API server would; `underlay` and `machine`, which also serve the real Kubernetes
(`kubernetes`); `cgroups`, `addresses`, `errors`.
"""
