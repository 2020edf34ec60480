"""The kinds ``macvlan``, ``ipvlan``, ``vlan`` and ``host-device`` of our plugin: a definition read as a NIC spec."""

from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.compile.ipam_routes import check_routes
from agent.compile.network_refused import NetworkRefused
from agent.compile.nic_config import nic_spec
from agent.compile.vf_config import object_of, refuse_dhcp
from agent.model.nic import NicKind, NicSpec
from agent.pods.nic.request import NicRequest


def asked(request: Request) -> NicRequest:
    """What an ADD of a kind of :class:`NicKind` asks for.

    Raises:
        CniError: a key has a value that cannot be; it is named.
    """
    try:
        refuse_dhcp(request.config)
        check_routes(object_of(request.config, "ipam"), "ipam")
        return _request(request, nic_spec(NicKind(request.kind), request.config, request.asked.mac))
    except NetworkRefused as error:
        raise CniError(Code.CONFIG, str(error)) from error


def given_back(request: Request) -> NicRequest:
    """The same of a DEL, which takes away whatever was once given: its IPAM plugin alone is asked."""
    return _request(request, NicSpec(NicKind(request.kind)))


def _request(request: Request, spec: NicSpec) -> NicRequest:
    return NicRequest(
        spec=spec,
        network=request.network,
        container_id=request.container_id,
        interface=request.interface,
        netns=request.netns,
        pod=request.pod,
        pod_uid=request.pod_uid,
        config=request.config,
        asked_at_ns=request.asked_at_ns,
        definition=request.definition,
    )
