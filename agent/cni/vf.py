"""The kinds ``sriov`` and ``dpdk`` of our plugin: a definition read as a VF spec."""

import re
from collections.abc import Mapping
from typing import Any

from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.compile.ipam_routes import check_routes
from agent.compile.network_refused import NetworkRefused
from agent.compile.vf_config import object_of, refuse_dhcp, text_of, vf_spec
from agent.model.vf import VfKind
from agent.pods.vf.request import VfRequest

_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


def asked(request: Request) -> VfRequest:
    """What an ADD of a kind of :class:`VfKind` asks for.

    Raises:
        CniError: a key has a value that cannot be; it is named.
    """
    try:
        refuse_dhcp(request.config)
        check_routes(object_of(request.config, "ipam"), "ipam")
    except NetworkRefused as error:
        raise CniError(Code.CONFIG, str(error)) from error
    return vf_request(request)


def vf_request(request: Request) -> VfRequest:
    """The same of a DEL, which takes away whatever was once given.

    Raises:
        CniError: a key has a value that cannot be; it is named.
    """
    try:
        return _vf_request(request)
    except NetworkRefused as error:
        raise CniError(Code.CONFIG, str(error)) from error


def _vf_request(request: Request) -> VfRequest:
    config = request.config
    runtime = object_of(config, "runtimeConfig")
    address, where = _device(config, runtime)
    if not _PCI.fullmatch(address):
        raise NetworkRefused(where, f"{address!r} is no PCI address, as 0000:03:02.0")
    return VfRequest(
        address=address,
        spec=vf_spec(VfKind(request.kind), config, request.asked.mac),
        network=request.network,
        container_id=request.container_id,
        interface=request.interface,
        netns=request.netns,
        pod=request.pod,
        pod_uid=request.pod_uid,
        config=config,
        device_info=text_of(runtime, "CNIDeviceInfoFile", "runtimeConfig."),
        asked_at_ns=request.asked_at_ns,
        definition=request.definition,
    )


def _device(config: Mapping[str, Any], runtime: Mapping[str, Any]) -> tuple[str, str]:
    """The VF's address and the key that says it: who asks for this pod goes before the definition."""
    for found, key, prefix in (
        (runtime, "deviceID", "runtimeConfig."),
        (config, "deviceID", ""),
        (config, "pciBusID", ""),
    ):
        if value := text_of(found, key, prefix):
            return value.lower(), prefix + key
    raise NetworkRefused("deviceID", "is missing; a device plugin's resource gives it, or name the VF's PCI address")
