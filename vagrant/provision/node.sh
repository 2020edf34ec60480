#!/bin/bash
# Sets what a kubelet needs of its machine: no swap, overlayfs, forwarding, and the address that other nodes reach it by.
#   node.sh ADDRESS    as root, on every machine, after packages.sh; again, it changes nothing
set -euo pipefail
(($# == 1)) || { echo "usage: node.sh ADDRESS" >&2; exit 2; }
address=$1
ip -brief address | grep -F " $address/" >/dev/null || { echo "node.sh: this machine has no address $address" >&2; exit 1; }

swapoff -a
sed -i '/^[^#].*\sswap\s/s/^/#/' /etc/fstab
echo overlay >/etc/modules-load.d/kubernetes.conf
modprobe overlay
echo 'net.ipv4.ip_forward = 1' >/etc/sysctl.d/90-kubernetes.conf
sysctl -p /etc/sysctl.d/90-kubernetes.conf
echo "KUBELET_EXTRA_ARGS=--node-ip=$address" >/etc/default/kubelet
