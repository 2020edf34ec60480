#!/bin/bash
# Runs a command beside Debian 13's Vagrant, libvirt and QEMU, which know igb, in a chroot and namespaces of its own.
#   libvirt.sh FOLDER COMMAND...     as root; needs mmdebstrap, and makes the chroot in FOLDER where there is none
#
# The checkout and FOLDER/shared are at the paths that they have outside; Vagrant's home is in the latter. The network is one
# without a way out, so that nothing of libvirt's is seen by the host: machines there install no packages, and have what their box has. All of it, machines
# included, ends with the command: `libvirt.sh FOLDER bash` is for who wants to look around.
set -euo pipefail
(($# >= 2)) || { echo "usage: libvirt.sh FOLDER COMMAND..." >&2; exit 2; }
folder=$(realpath -m "$1")
checkout=$(realpath "$(dirname "$0")/../..")
shift

packages=(vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu
	libvirt-daemon-driver-network libvirt-daemon-driver-storage libvirt-daemon-driver-nodedev libvirt-daemon-driver-nwfilter
	libvirt-daemon-driver-secret libvirt-daemon-config-network qemu-system-x86 qemu-utils dnsmasq-base nftables iptables
	iproute2 iputils-ping openssh-client dbus procps kmod ca-certificates)
if [[ ! -e $folder/root/etc/debian_version ]]; then
	rm -rf "$folder/unfinished"
	mkdir -p "$folder/shared"
	mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' trixie "$folder/unfinished"
	mv "$folder/unfinished" "$folder/root"
fi
# QEMU as root, without what libvirt would ask of systemd, cgroups and udev
cat >"$folder/root/etc/libvirt/qemu.conf" <<'END'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
cgroup_controllers = [ ]
security_driver = "none"
stdio_handler = "file"
END
cat >"$folder/root/start" <<'END'
#!/bin/bash
set -euo pipefail
mkdir -p /run/dbus /run/libvirt /run/lock
dbus-daemon --system --fork
virtlogd --daemon
libvirtd --daemon
until virsh --quiet --connect qemu:///system list >/dev/null 2>&1; do sleep 0.2; done
cd "$1"
shift
exec "$@"
END
chmod 755 "$folder/root/start"

export folder checkout
# shellcheck disable=SC2016  # the inner shell's variables
exec unshare --mount --net --pid --uts --fork --kill-child bash -c '
	set -euo pipefail
	root=$folder/root
	mount --make-rprivate /
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sys "$root/sys"
	mount --rbind /dev "$root/dev"
	mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
	mount -t tmpfs run "$root/run"
	mount -t tmpfs tmp "$root/tmp"
	for path in "$checkout" "$folder/shared"; do
		mkdir -p "$root$path"
		mount --bind "$path" "$root$path"
	done
	ip link set lo up
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
		VAGRANT_HOME="$folder/shared/home" VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_DEFAULT_PROVIDER=libvirt \
		LIBVIRT_DRIVER="${LIBVIRT_DRIVER:-kvm}" SLUICEWAY_BOX="${SLUICEWAY_BOX:-debian/bookworm64}" \
		SLUICEWAY_IMAGE="${SLUICEWAY_IMAGE:-}" \
		chroot "$root" /start "$@"
' bash "$PWD" "$@"
