#!/bin/bash
# Applies the agent's manifest, with the API server's address in it, and waits until it is ready on every node there is.
#   agent.sh ADDRESS   as root, on the control plane, whose ADDRESS it is, in a tree with deploy/; again, it changes nothing
set -euo pipefail
(($# == 1)) || { echo "usage: agent.sh ADDRESS" >&2; exit 2; }
address=$1
cd "$(dirname "$0")/../.."

export KUBECONFIG=/etc/kubernetes/admin.conf
sed "s|^            - run$|&\n            - --api-server=https://$address:6443|" deploy/manifests/sluiceway.yaml | kubectl apply -f -
kubectl --namespace kube-system rollout status daemonset/sluiceway-agent --timeout=20m
kubectl wait --for=condition=Ready nodes --all --timeout=5m
