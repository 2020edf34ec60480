#!/bin/bash
# Takes a node's pods elsewhere, checks that the Service of demo.sh goes on, and gives the node back.
#   drain.sh NODE      as root, on the control plane, after demo.sh; again, it does the same again
set -euo pipefail
(($# == 1)) || { echo "usage: drain.sh NODE" >&2; exit 2; }
node=$1
export KUBECONFIG=/etc/kubernetes/admin.conf

kubectl drain "$node" --ignore-daemonsets --delete-emptydir-data --timeout=10m
kubectl rollout status deployment/nginx --timeout=10m
kubectl run access --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 30 -O - http://nginx
kubectl uncordon "$node"
