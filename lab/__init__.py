"""A cluster on one machine: each node is a set of namespaces with an agent of its own, each pod a network namespace.

From the top: `app` (the commands) and `demo`; `cluster` (up, apply, run, delete); `pods` and `cni` (what kubelet and
container runtime do), `admission` and `endpoints` (API server and controllers), `manifests`, `agents`; below them
`site`, `underlay`, `machine` and `cgroups`, on which the real Kubernetes stands too (`kubernetes`).
"""
