"""An ADD behind another plugin, as ``--network chained`` has it: its interface, told of by ``prevResult``, is taken.

What only the plugin that makes an interface could give is refused by name; bandwidth is kept by the programs.
"""

from dataclasses import replace

from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.pods.made import made_interface
from agent.pods.request import PodRequest

OTHERS = "is the business of the plugin that makes the interface; with --network chained ours makes none"


def chained_request(request: Request) -> PodRequest:
    """What is asked for a pod whose interface is there.

    Raises:
        CniError: ``prevResult`` does not tell of it, or something is asked for that others have to do.
    """
    asked = request.for_pods()
    if asked.host_ports:
        raise CniError(Code.UNSUPPORTED_FIELD, f"runtimeConfig.portMappings: {OTHERS}; chain portmap")
    if asked.afxdp:
        raise CniError(Code.UNSUPPORTED_FIELD, f"afxdp: {OTHERS}")
    if asked.mac:
        raise CniError(Code.UNSUPPORTED_FIELD, f"runtimeConfig.mac: {OTHERS}")
    if asked.addresses:
        raise CniError(Code.UNSUPPORTED_FIELD, f"{asked.addresses[0].field}: {OTHERS}")
    if request.previous is None:
        text = "the configuration lacks it; with --network chained sluiceway-cni is behind the plugin that makes eth0"
        raise CniError(Code.CONFIG, f"prevResult: {text}")
    try:
        made = made_interface(request.previous, request.interface)
    except ValueError as error:
        raise CniError(Code.CONFIG, f"prevResult.{error}") from error
    return replace(asked, made=made)
