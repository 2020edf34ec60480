#!/bin/bash
# Makes this machine a node of the cluster; waits for its API server.
#   join.sh CONTROL_PLANE TOKEN [CA_HASH]    as root, after node.sh; a machine that is a node already stays as it is
set -euo pipefail
(($# == 2 || $# == 3)) || { echo "usage: join.sh CONTROL_PLANE TOKEN [CA_HASH]" >&2; exit 2; }
control_plane=$1 token=$2 ca_hash=${3:-}
[[ ! -e /etc/kubernetes/kubelet.conf ]] || exit 0

until curl -ksf --max-time 5 "https://$control_plane:6443/readyz" >/dev/null; do
	((SECONDS < 1800)) || { echo "join.sh: no API server at $control_plane within half an hour" >&2; exit 1; }
	sleep 5
done
if [[ -n $ca_hash ]]; then
	kubeadm join "$control_plane:6443" --token "$token" --discovery-token-ca-cert-hash "$ca_hash"
else
	kubeadm join "$control_plane:6443" --token "$token" --discovery-token-unsafe-skip-ca-verification
fi
