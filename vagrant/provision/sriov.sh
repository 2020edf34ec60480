#!/bin/bash
# Makes virtual functions of every igb device, each with a MAC address of its own, and lists them.
#   sriov.sh [COUNT]   as root; 2 unless told.  Devices that have as many keep them.  They are gone after a reboot
#
# A VF that is probed while its PF is being reset stays dead, and takes its MAC address when it is bound: so the driver
# comes last, when the PF has its carrier again.  SYSFS is another /sys, for tests.
set -euo pipefail
[[ $# -le 1 && ${1:-2} =~ ^[1-7]$ ]] || { echo "usage: sriov.sh [COUNT], of 1 to 7" >&2; exit 2; }
count=${1:-2} sysfs=${SYSFS:-/sys}

carrier() {
	local deadline=$((SECONDS + 20))
	until [[ $(cat "$1/carrier" 2>/dev/null) == 1 ]]; do
		((SECONDS < deadline)) || { echo "sriov.sh: ${1##*/} has no carrier" >&2; return 1; }
		sleep 0.2
	done
}

make_functions() {
	local pf=$1 name=${1##*/} number mac
	ip link set "$name" up
	carrier "$pf"
	echo 0 >"$pf/device/sriov_drivers_autoprobe"
	[[ $(<"$pf/device/sriov_numvfs") == 0 ]] || echo 0 >"$pf/device/sriov_numvfs"
	echo "$count" >"$pf/device/sriov_numvfs"
	mac=$(<"$pf/address")
	for ((number = 0; number < count; number++)); do
		# locally administered; the last octets are the PF's, which no other PF has
		ip link set "$name" vf "$number" mac "02:0$number:${mac:6}"
	done
	carrier "$pf"
	echo 1 >"$pf/device/sriov_drivers_autoprobe"
	for ((number = 0; number < count; number++)); do
		basename "$(readlink "$pf/device/virtfn$number")" >"$sysfs/bus/pci/drivers_probe"
	done
}

modprobe igb || { echo "sriov.sh: this kernel has no igb: apt-get install linux-image-amd64, and reboot" >&2; exit 1; }
shopt -s nullglob
devices=("$sysfs"/bus/pci/drivers/igb/*/net/*)
((${#devices[@]})) || { echo "sriov.sh: no device of igb is here" >&2; exit 1; }
modprobe igbvf
for path in "${devices[@]}"; do
	pf=$sysfs/class/net/${path##*/}
	[[ $(<"$pf/device/sriov_numvfs") == "$count" ]] || make_functions "$pf"
	udevadm settle # which gives them their names
	for function in "$pf"/device/virtfn*; do
		interfaces=("$function"/net/*)
		echo "${pf##*/} ${function##*/} $(basename "$(readlink "$function")") ${interfaces[*]##*/}"
	done
	ip link show dev "${pf##*/}"
done
