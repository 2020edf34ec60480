#!/bin/bash
# Installs containerd from Debian, and kubeadm, kubelet and kubectl of one pinned version from Kubernetes' own packages,
# unless the machine has that version.
#   packages.sh        as root, on every machine; again, it changes nothing
set -euo pipefail
(($# == 0)) || { echo "usage: packages.sh" >&2; exit 2; }
export DEBIAN_FRONTEND=noninteractive

version=1.36.3
repository=https://pkgs.k8s.io/core:/stable:/v${version%.*}/deb/
# a box may have them: vagrant/host/box.sh
if [[ $(kubeadm version -o short 2>/dev/null || true) != "v$version" ]]; then
	apt-get update
	apt-get install -y --no-install-recommends ca-certificates containerd curl
	curl -fsSL "${repository}Release.key" -o /etc/apt/keyrings/kubernetes.asc
	echo "deb [signed-by=/etc/apt/keyrings/kubernetes.asc] $repository /" >/etc/apt/sources.list.d/kubernetes.list
	apt-get update
	apt-get install -y --no-install-recommends --allow-change-held-packages "kubelet=$version-*" "kubeadm=$version-*" "kubectl=$version-*"
	apt-mark hold kubelet kubeadm kubectl
fi

# Debian's own file has its plugins in /usr/lib/cni, where neither the agent nor Kubernetes' packages put theirs
cat >/etc/containerd/config.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
END
systemctl restart containerd
