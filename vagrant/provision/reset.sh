#!/bin/bash
# Takes Kubernetes off this machine; its packages stay.
#   reset.sh           as root, on every machine, the control plane last; again, it changes nothing
set -euo pipefail
(($# == 0)) || { echo "usage: reset.sh" >&2; exit 2; }

kubeadm reset --force
