"""``sluiceway-agent cleanup``: the node as it was before the agent came.

Pods' interfaces were made by the agent and go too: without its programs and routes they would lead nowhere. Drain
the node first. A DEL that comes later finds nothing and is content.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute

from agent.bgp import leave as bgp
from agent.cni import install, intents
from agent.cni import socket as cni_socket
from agent.devices import leave as devices
from agent.errors import AgentError, ConfigError
from agent.kernel.cleanup import cleanup
from agent.kernel.device import afxdp
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.device.vf_programs import VfPrograms
from agent.kernel.net.routes import Routes
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.programs.build import UNFINISHED
from agent.kernel.programs.elsewhere import check_programs, check_state_dir
from agent.lease_leave import leave_leases
from agent.log import logger
from agent.model.attachment import Attachment
from agent.network_parts import nics, plugins, vfs
from agent.options.config import Options
from agent.options.mounts import is_on_bpffs, read_mountinfo
from agent.pod_parts import ATTACHMENTS
from agent.pods.attachments import boot_id
from agent.pods.delegate import Delegates
from agent.pods.device.guards import Guards
from agent.pods.device.handover import TROUBLES, Handover, Q, R
from agent.pods.device.hardware import Hardware
from agent.pods.errors import NetworkFailed
from agent.pods.ip_leases import FOLDER as LEASES
from agent.pods.known import KnownAttachments
from agent.pods.network_record import FOLDER as NETWORKS
from agent.pods.network_record import NetworkRecords
from agent.pods.networks import Networks
from agent.pods.nic.record import FOLDER as NICS
from agent.pods.plugin import PluginFailed
from agent.pods.veth import PodVeths
from agent.pods.vf import files as vf_files
from agent.pods.vf.check import unusable
from agent.pods.vf.record import FOLDER as VFS
from agent.serve import announce_report, bgp_report, ip_pool_report, policy_report, report, report_file
from agent.unix_socket import answers
from agent.watch import met
from maps.errors import PinRootBusy
from maps.pins import PinRoot

log = logger(__name__)


def clean(options: Options) -> None:
    """Remove what the agent put on the node, and nothing else.

    Raises:
        PinRootBusy: an agent runs.
        ConfigError: the agent had other folders.
        AgentError: something is not what it was; all else is, and another call tries again.
    """
    is_new = not options.pin_root.exists()
    pins = PinRoot(options.pin_root)
    has_pins = is_on_bpffs(options.pin_root, read_mountinfo())
    if has_pins:
        pins.lock()
        _check_folders(pins, options.state_dir, is_new=is_new)
    elif answers(options.run_dir / cni_socket.SOCKET):  # its bpffs is not to be seen from here
        raise PinRootBusy(str(options.pin_root))
    else:
        log.info("no bpffs is mounted for the pins, so there are none", pins=options.pin_root)
    # first: what clients and peers send here is served until they send it elsewhere
    leave_leases(options, pins.generations() if has_pins else ())
    left = [*_leave_bgp(options)]
    for path in install.uninstall(options.cni_bin_dir, options.cni_conf_dir):
        log.info("CNI file removed", path=path)
    _unmake_networks(options)
    left += give_vfs_back(options, pins.vfs)
    left += give_nics_back(options, pins.vfs)
    veths = PodVeths(tuple, lambda _: ((), ()))
    for device in sorted(veths.ours()):
        veths.remove(device)
        log.info("pod's interface removed", device=device)
    with IPRoute() as netlink:
        tunnel = TunnelDevice(netlink, Sysctls(options.state_dir))
        left += cleanup(options, pins if has_pins else None, Routes(), tunnel)
    for path in devices.leave(options.run_dir):
        log.info("file of the device plugin removed", path=path)
    shutil.rmtree(options.state_dir / ATTACHMENTS, ignore_errors=True)
    shutil.rmtree(options.state_dir / LEASES, ignore_errors=True)
    (options.run_dir / cni_socket.SOCKET).unlink(missing_ok=True)
    shutil.rmtree(options.run_dir / intents.INTENTS, ignore_errors=True)
    shutil.rmtree(options.run_dir / met.FOLDER, ignore_errors=True)
    PodFolders(options.run_dir / afxdp.FOLDER).remove()
    shutil.rmtree(options.run_dir / vf_files.FOLDER, ignore_errors=True)
    told = (report, policy_report, announce_report, bgp_report, ip_pool_report)
    report_file.remove(options.run_dir, tuple(each.FILE for each in told))
    _remove_objects(options.cache_dir)
    _remove_if_empty((options.state_dir, options.run_dir, options.cache_dir))
    if left:
        raise AgentError(f"the node is not yet as it was: {'; '.join(left)}; run cleanup again")
    log.info("node is clean", was_there=not is_new)


def _check_folders(pins: PinRoot, state_dir: Path, *, is_new: bool) -> None:
    """Refuse to clean up with other folders than the agent had, and to call that clean."""
    try:
        check_state_dir(pins, state_dir)
        if is_new:
            check_programs(pins)
    except ConfigError:
        pins.abandon()
        raise


def _leave_bgp(options: Options) -> Iterator[str]:
    """Have peers send nothing here any more; why they do."""
    try:
        bgp.leave(options.run_dir, bgp.WITHDRAWN_WITHIN_S)
    except OSError as error:
        yield f"BGP: {error}"


class _NoLoop:
    """In the reconcile loop's place: nothing is served any more."""

    def attach(self, attachment: Attachment) -> None:
        """Nothing is guarded that was not."""

    def detach(self, attachment: Attachment) -> None:
        """The maps go with everything."""


def _unmake_networks(options: Options) -> None:
    """Have other plugins unmake the interfaces that pods have of them; what one refuses is told, and left to it.

    Our own are not asked: veths go with the others of ours, VFs are given back whoever asked for them.
    """
    delegates = Delegates(plugins(options), lambda *_: None)
    networks = Networks(NetworkRecords(options.state_dir / NETWORKS), delegates, lambda *_: None, lambda _: True)
    networks.restore()
    for one in networks.all():
        try:
            networks.delete(one.key)
            log.info("pod's networks unmade", pod=str(one.pod or one.container_id))
        except (NetworkFailed, OSError) as error:
            log.warning("pod's networks are not unmade", pod=str(one.pod or one.container_id), why=error)
    shutil.rmtree(options.state_dir / NETWORKS, ignore_errors=True)


def give_vfs_back(options: Options, programs: Path) -> Iterator[str]:
    """Have VFs that pods still have be what they were, without *programs*, the folder of pins; what is not.

    That one's record stays for another call. An address that a plugin does not take back is told, and left to it.
    """
    own = vfs(options, Guards(KnownAttachments(), _NoLoop(), VfPrograms(None, programs)))
    yield from _give_back(own, lambda record: f"VF {record.address}", options.state_dir / VFS)
    yield from (f"{problem.field}: {problem.text}" for problem in unusable(own.unread, {}, node=""))


def give_nics_back(options: Options, programs: Path) -> Iterator[str]:
    """As :func:`give_vfs_back`, what pods have of devices of the node."""
    own = nics(options, Guards(KnownAttachments(), _NoLoop(), VfPrograms(None, programs)), Hardware())
    yield from _give_back(own, lambda record: f"device {record.device}", options.state_dir / NICS)
    yield from (f"device {address}: its record cannot be read; remove it" for address in sorted(own.unread))


def _give_back(own: Handover[Q, R], name: Callable[[R], str], records: Path) -> Iterator[str]:
    own.restore()
    for record in own.all():
        try:
            own.delete(record.key)
        except PluginFailed as error:
            log.warning("address of a device is not given back", device=name(record), why=error)
            own.drop(record)
        except TROUBLES as error:
            yield f"{name(record)}: {error}"
        else:
            yield from (f"{name(record)}: {why}" for address, why in own.stuck.items() if address == record.address)
    _remove_if_empty((records / boot_id(), records))


def _remove_objects(cache: Path) -> None:
    """Compiled objects lie in folders named by their key, once all are; anything else in there is not ours."""
    for folder in cache.iterdir() if cache.is_dir() else ():
        if folder.name.startswith(UNFINISHED) or any(folder.glob("*.bpf.o")):
            shutil.rmtree(folder)


def _remove_if_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
