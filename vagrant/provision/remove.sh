#!/bin/bash
# Takes the demo and the agent away, and cleans every node of what the agent put there.
#   remove.sh          as root, on the control plane, in a tree with deploy/; again, it does the same again
set -euo pipefail
(($# == 0)) || { echo "usage: remove.sh" >&2; exit 2; }
cd "$(dirname "$0")/../.."
export KUBECONFIG=/etc/kubernetes/admin.conf

kubectl delete --ignore-not-found deployment/nginx service/nginx networkpolicy/access-nginx
# pods with an address of ours go first: without the plugin kubelet, which takes up to a minute, cannot remove them
kubectl --namespace kube-system scale deployment coredns --replicas=0
kubectl wait --for=delete pods --selector=app=nginx --timeout=5m
kubectl --namespace kube-system wait --for=delete pods --selector=k8s-app=kube-dns --timeout=5m
sleep 90
kubectl delete --ignore-not-found -f deploy/manifests/sluiceway.yaml
kubectl apply -f deploy/manifests/cleanup.yaml
kubectl --namespace kube-system rollout status daemonset/sluiceway-cleanup --timeout=10m
kubectl delete -f deploy/manifests/cleanup.yaml
