"""The CNI commands of our IPAM: asked by another plugin that has ``"ipam": {"type": "sluiceway-cni"}``, or for a VF.

Another plugin executes our shim with its own configuration; for a VF the agent asks itself, without a process.

Source: CNI specification 1.1.0, sections 4 and 5 ("IPAM plugins").
"""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_interface
from typing import Any

import msgspec

from agent.cni.error import CniError, Code, refused
from agent.cni.request import Command, Request, parse
from agent.compile.ipam_routes import check_routes
from agent.compile.network_refused import NetworkRefused
from agent.model.network import OUR_PLUGIN
from agent.pods.errors import PodRefused
from agent.pods.ip_leases import IpLeases, Lease, LeaseRequest
from agent.pods.plugin import PluginFailed

NEEDS = "ipam: addresses of IPPools are given with --ip-pools on"


class IpamCommands:
    """The commands of one node; *leases* is None where no pods have addresses of pools."""

    def __init__(self, leases: IpLeases | None) -> None:
        self._leases = leases

    def restore(self) -> None:
        """As ``IpLeases.restore``."""
        if self._leases is not None:
            self._leases.restore()

    def collect_dead(self) -> None:
        """As ``IpLeases.collect``."""
        if self._leases is not None:
            self._leases.collect()

    def add(self, request: Request) -> bytes:
        """Give an interface its addresses; the result.

        Raises:
            CniError, PodRefused, OSError: nothing is left.
        """
        if self._leases is None:
            raise CniError(Code.CONFIG, NEEDS)
        pools = str(_ipam(request).get("pool") or "")
        if not pools:
            raise CniError(Code.CONFIG, "ipam.pool: is missing; name an IPPool")
        try:
            check_routes(_ipam(request), "ipam")
        except NetworkRefused as error:
            raise CniError(Code.CONFIG, str(error)) from error
        wanted = LeaseRequest(
            container_id=request.container_id,
            interface=request.interface,
            network=request.network,
            pools=pools,
            netns=request.netns,
            pod=request.pod,
            wanted=request.asked.addresses,
            asked_at_ns=request.asked_at_ns or 0,
        )
        return _result(request, self._leases.add(wanted))

    def delete(self, request: Request) -> None:
        """Take back what the interface has, whatever the configuration says by now.

        Raises:
            OSError: the disk refuses.
        """
        if self._leases is not None:
            self._leases.delete(request.key)

    def check(self, request: Request) -> None:
        """See whether the addresses are still the interface's.

        Raises:
            CniError: they are not.
        """
        lease = self._leases.find(request.key) if self._leases is not None else None
        if lease is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"{request.container_id} has no addresses for {request.interface}")
        told = {_bare(ip) for ip in (request.previous or {}).get("ips") or ()}
        if missing := [str(address) for address in lease.bare if address not in told]:
            raise CniError(Code.CHECK, f"{request.interface} is not as ADD left it", f"prevResult.ips: no {missing[0]}")

    def collect(self, request: Request) -> Iterator[str]:
        """Give back what the runtime does not name; what could not be."""
        try:
            if self._leases is not None:
                self._leases.keep_only(request.network, request.valid or frozenset(), request.asked_at_ns)
        except OSError as error:
            yield f"leases: {error}"

    def status(self) -> None:
        """See whether addresses can be given at all.

        Raises:
            CniError: they cannot.
        """
        if self._leases is None:
            raise CniError(Code.UNAVAILABLE, NEEDS)


class IpamInProcess:
    """Our IPAM as ``Plugins.run`` has others'."""

    def __init__(self, commands: IpamCommands) -> None:
        self._commands = commands

    def __call__(self, environment: Mapping[str, str], config: Mapping[str, Any]) -> Any:
        """Do what is asked for; what ADD answers.

        Raises:
            PluginFailed: it was not done.
        """
        own, does = self._commands, dict[str, Callable[[Request], Any]]()
        does |= {Command.ADD: own.add, Command.DEL: own.delete, Command.CHECK: own.check}
        try:
            found = does[environment["CNI_COMMAND"]](parse(environment, msgspec.json.encode(config)))
        except PodRefused as error:
            told = refused(error)
            raise PluginFailed(OUR_PLUGIN, str(told), told.code) from error
        except CniError as error:
            raise PluginFailed(OUR_PLUGIN, "; ".join(filter(None, (str(error), error.details))), error.code) from error
        except OSError as error:
            raise PluginFailed(OUR_PLUGIN, str(error), Code.TRY_LATER) from error
        return msgspec.json.decode(found) if found else None


def is_ipam(request: Request) -> bool:
    """Whether another plugin asks for addresses alone."""
    return request.config.get("type") != OUR_PLUGIN and _ipam(request).get("type") == OUR_PLUGIN


def _ipam(request: Request) -> Mapping[str, Any]:
    found = request.config.get("ipam")
    return found if isinstance(found, dict) else {}


def _result(request: Request, lease: Lease) -> bytes:
    ips = []
    for text, gateway in zip(lease.addresses, lease.gateways, strict=True):
        ip = {"address": text, **({"gateway": gateway} if gateway else {})}
        if request.version < "1.0.0":
            ip["version"] = "6" if ":" in text else "4"
        ips.append(ip)
    result: dict[str, Any] = {"cniVersion": request.version, "ips": ips, "dns": dict(request.dns)}
    if routes := _ipam(request).get("routes"):
        result["routes"] = routes
    return msgspec.json.encode(result)


def _bare(ip: Mapping[str, Any]) -> object:
    try:
        return ip_interface(str(ip.get("address"))).ip
    except ValueError:
        return None
