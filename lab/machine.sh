#!/bin/bash
# Makes a machine of the namespaces it was started in, then stays as its first process.  Started by machine.py.
#
# The root file system is the host's; /etc, /var and /opt are overlays whose writes go to memory, /run and /tmp are the
# machine's own, and so are bpffs and the cgroups' roots.  The folders in LAB_KEEP lie under one of these and stay the host's.
set -eu

# Held open, they can be brought back when their path is hidden.
declare -A kept
while read -r path; do
	exec {fd}<"$path"
	kept[$path]=$fd
done <<<"$LAB_KEEP"

# Copies of the host's mounts would keep other network namespaces and pins alive.
awk '/ - (nsfs|bpf) /{ print $5 }' /proc/self/mountinfo | tac | while read -r point; do
	umount -l "$point" || true
done
umount -l -R /sys
mount -t sysfs sysfs /sys
mount -t proc proc /proc
if [[ $LAB_CGROUPS == *" /sys/fs/cgroup/"* ]]; then
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
fi
while read -r kind options point; do
	mkdir -p "$point"
	mount -t "$kind" -o "$options" "$kind" "$point"
done <<<"$LAB_CGROUPS"
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing || true

mount -t tmpfs -o mode=755 tmpfs /run
for name in etc var opt; do
	mkdir -p /run/machine/$name/{upper,work}
	mount -t overlay -o "lowerdir=/$name,upperdir=/run/machine/$name/upper,workdir=/run/machine/$name/work" overlay /$name
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
for path in "${!kept[@]}"; do
	fd=${kept[$path]}
	mkdir -p "$path"
	mount --no-canonicalize --bind "/proc/$$/fd/$fd" "$path" # its canonical name is the hidden one
	exec {fd}<&-
done

for name in $LAB_FOLDERS; do # of real disk: what lies here cannot be on an overlay
	mkdir -p "$LAB_HOME/disk/$name" "/var/$name"
	mount --bind "$LAB_HOME/disk/$name" "/var/$name"
done
for setting in $LAB_TUNABLES; do # the kernel's own, shown with the value that is wanted and kept as they are
	file=/run/machine/${setting//\//_}
	echo "${setting#*=}" >"${file%=*}"
	mount --bind "${file%=*}" "/proc/sys/${setting%%=*}"
done

# A machine has no container network but its own agent's.
rm -rf /etc/cni/net.d /opt/cni/bin
mkdir -p /etc/cni/net.d /opt/cni/bin /run/lock /run/netns
hostname "$LAB_NAME"
echo "$LAB_NAME" >/etc/hostname
echo "$LAB_HOSTS" >/etc/hosts
echo "nameserver $LAB_RESOLVER" >/etc/resolv.conf
ip link set lo up
mount --make-rshared /
touch "$LAB_HOME/ready"

# bash reaps the orphans of its process namespace; without a trap the first process does not hear SIGTERM
trap 'exit 0' TERM INT
exec </dev/null >/dev/null 2>&1
cd /
while :; do
	sleep infinity &
	wait $!
done
