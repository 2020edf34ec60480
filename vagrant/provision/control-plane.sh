#!/bin/bash
# Makes this machine the control plane of a cluster without kube-proxy.
#   control-plane.sh ADDRESS [TOKEN]    as root, after node.sh; a machine that is one already stays as it is
set -euo pipefail
(($# == 1 || $# == 2)) || { echo "usage: control-plane.sh ADDRESS [TOKEN]" >&2; exit 2; }
address=$1 token=${2:-}
[[ ! -e /etc/kubernetes/admin.conf ]] || exit 0

if [[ -z $token ]]; then
	token=$(kubeadm token generate)
fi
kubeadm init --kubernetes-version "$(kubeadm version -o short)" --apiserver-advertise-address "$address" --pod-network-cidr 10.244.0.0/16 --skip-phases=addon/kube-proxy --token "$token"
