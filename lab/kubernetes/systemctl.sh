#!/bin/bash
# Stands for systemd on a machine of the lab.  It knows one unit, kubelet, and starts it as Kubernetes' packages do.
set -euo pipefail
unit=${2:-} process=/run/kubelet.pid

is_active() { [[ -e $process ]] && kill -0 "$(<$process)" 2>/dev/null; }

start() {
	local KUBELET_KUBEADM_ARGS="" KUBELET_EXTRA_ARGS="" file
	for file in /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet; do
		# of one line, whose value may be in quotation marks; like systemd, split at spaces
		[[ ! -e $file ]] || eval "$(sed -E 's/^(\w+)="?([^"]*)"?$/\1=\x27\2\x27/' "$file")"
	done
	# shellcheck disable=SC2086
	setsid kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
		--config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS </dev/null >>/var/log/kubelet.log 2>&1 &
	echo $! >$process
}

stop() {
	is_active || return 0
	kill "$(<$process)"
	while is_active; do sleep 0.05; done
}

case "$1 $unit" in
"daemon-reload ") ;;
"start kubelet") is_active || start ;;
"stop kubelet") stop ;;
"restart kubelet") stop && start ;;
"status kubelet" | "is-enabled kubelet") ;;
"is-active kubelet") if is_active; then echo active; else echo inactive && exit 3; fi ;;
*) echo "Unit $unit.service could not be found." && exit 4 ;;
esac
