#!/bin/bash
# Bakes a box for libvirt from Debian 12's packages, with the kernel that has igb: for hosts that reach no Vagrant Cloud.
#   box.sh FILE [FOLDER]    as root; then: vagrant box add --name sluiceway/bookworm FILE, and SLUICEWAY_BOX=sluiceway/bookworm
#
# FOLDER is what `python -m lab.kubernetes.box FOLDER` wrote: Kubernetes' programs, and images that machines then need not
# pull; the agent's is baked in beside them where `make image` has left it.
#
# Needs mmdebstrap, extlinux, syslinux-common, e2fsprogs, qemu-utils, vagrant (for the key that its machines are reached
# by first), and a loop device. The folder of temporary files, TMPDIR, has to hold 3 GB, and 7 with images.
set -euo pipefail
(($# == 1 || $# == 2)) || { echo "usage: box.sh FILE [FOLDER]" >&2; exit 2; }
box=$(realpath -m "$1") kubernetes=${2:-}
checkout=$(realpath "$(dirname "$0")/../..")
size=20G offset=1048576 # the disk, sparse, and where its one partition begins, in octets
keys=$(find / -xdev -path '*/keys/vagrant.pub' -print -quit 2>/dev/null)
[[ -n $keys ]] || { echo "box.sh: no keys/vagrant.pub of the vagrant package" >&2; exit 1; }
work=$(mktemp -d)
trap 'umount -q "$work/mount" || true; rm -rf "$work"' EXIT
root=$work/root

packages=(systemd systemd-sysv systemd-resolved udev dbus openssh-server sudo rsync ca-certificates netbase
	iproute2 iputils-ping kmod procps ethtool pciutils linux-image-amd64 containerd apparmor curl)
[[ -z $kubernetes ]] || packages+=(containernetworking-plugins)
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root"

chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$keys" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant
echo 'UseDNS no' >>"$root/etc/ssh/sshd_config"
cat >"$root/etc/systemd/network/80-dhcp.network" <<'END'
[Match]
Type=ether
Name=en*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
[DHCPv4]
ClientIdentifier=mac
END
chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved ssh serial-getty@ttyS0
chroot "$root" systemctl --quiet mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer
echo 'LABEL=root / ext4 defaults 0 1' >"$root/etc/fstab"
: >"$root/etc/machine-id"
mkdir "$root/boot/extlinux"
cat >"$root/boot/extlinux/extlinux.conf" <<'END'
DEFAULT linux
TIMEOUT 1
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.img
  APPEND root=LABEL=root rw console=ttyS0 intel_iommu=on iommu=pt quiet
END

# what containerd has of images is the same on every machine, so that none unpacks them again
import_images() {
	local archive name daemon
	mount -t proc proc "$root/proc"
	mount -t tmpfs run "$root/run"
	chroot "$root" containerd --log-level error &
	daemon=$!
	until chroot "$root" ctr version >/dev/null 2>&1; do
		kill -0 "$daemon"
		sleep 0.2
	done
	for archive in "$kubernetes"/images/*.tar; do
		chroot "$root" ctr --namespace k8s.io images import - <"$archive"
	done
	for archive in "$checkout"/dist/sluiceway-*.oci.tar; do
		name=$(basename "$archive" .oci.tar)
		chroot "$root" ctr --namespace k8s.io images import --index-name "docker.io/library/${name%-*}:${name##*-}" - <"$archive"
	done
	kill "$daemon"
	wait "$daemon" || true
}

if [[ -n $kubernetes ]]; then
	cp -rL "$kubernetes/root/." "$root"
	# containerd 1.6 calls it for each pod, and Kubernetes' packages have it there
	install -D "$root/usr/lib/cni/loopback" "$root/opt/cni/bin/loopback"
	chroot "$root" systemctl --quiet enable kubelet
	export root kubernetes checkout
	export -f import_images
	unshare --mount --pid --fork --kill-child bash -euo pipefail -O nullglob -c import_images
fi

# extlinux reads neither 64-bit block numbers nor checksummed metadata
truncate -s "$size" "$work/disk"
mke2fs -q -t ext4 -O ^64bit,^metadata_csum -L root -E "offset=$offset" -d "$root" "$work/disk" \
	$((($(stat -c %s "$work/disk") - offset) / 1024))k
# a partition table of one active Linux partition: a row of 16 octets, and the signature
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk" bs=440 count=1 conv=notrunc status=none
sectors=$((($(stat -c %s "$work/disk") - offset) / 512))
row='\x80\xfe\xff\xff\x83\xfe\xff\xff'
for value in $((offset / 512)) "$sectors"; do
	for shift in 0 8 16 24; do
		row+=$(printf '\\x%02x' $(((value >> shift) & 255)))
	done
done
printf '%b' "$row" | dd of="$work/disk" bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of="$work/disk" bs=1 seek=510 conv=notrunc status=none
mkdir "$work/mount"
mount -o "loop,offset=$offset" "$work/disk" "$work/mount"
extlinux --install "$work/mount/boot/extlinux" 2>/dev/null
umount "$work/mount"

qemu-img convert -O qcow2 -c "$work/disk" "$work/box.img"
echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": ${size%G}}" >"$work/metadata.json"
echo 'Vagrant.configure("2") { |config| config.vm.provider :libvirt }' >"$work/Vagrantfile"
tar -cf "$box" -C "$work" metadata.json box.img Vagrantfile
