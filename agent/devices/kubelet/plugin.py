"""One resource's server: what the kubelet asks of a device plugin, answered from the inventory.

Source: Kubernetes, "Device Plugins".
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from agent.devices import cdi
from agent.devices.allocation import Allocation, Mount, Unavailable, allocate
from agent.devices.inventory import Inventory, Known
from agent.devices.kubelet import device_plugin_pb2 as messages
from agent.devices.kubelet.calls import DEVICE_PLUGIN, unary
from agent.devices.pools import Device, Pool
from agent.devices.preference import preferred
from agent.log import logger
from agent.model.device import NO_NODE, Hardware

log = logger(__name__)

HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"
PERMISSIONS = "rw"
# not asked before each start of a container: none could start again while the plugin is away
OPTIONS = messages.DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=True)
Count = Callable[[str, str], None]  # of an Allocate: the resource, and "given" or "refused"


class Plugin:
    """Answers for one resource."""

    def __init__(  # noqa: PLR0913  what it is, and what it answers from
        self,
        resource: str,
        inventory: Inventory,
        hardware: Callable[[], Hardware],
        run_dir: Path,
        count: Count,
        *,
        uses_cdi: bool,
    ) -> None:
        """*hardware* reads what is there at that moment: since the last look an IOMMU group may have another number."""
        self.resource = resource
        self._inventory = inventory
        self._hardware = hardware
        self._run_dir = run_dir
        self._count = count
        self._uses_cdi = uses_cdi

    def handler(self) -> grpc.GenericRpcHandler:
        """All its methods, for a server."""
        listing: grpc.RpcMethodHandler[messages.Empty, messages.ListAndWatchResponse]
        listing = grpc.unary_stream_rpc_method_handler(
            self._list_and_watch, messages.Empty.FromString, lambda answer: answer.SerializeToString()
        )
        return grpc.method_handlers_generic_handler(
            DEVICE_PLUGIN,
            {
                "GetDevicePluginOptions": unary(lambda _, __: OPTIONS, messages.Empty),
                "ListAndWatch": listing,
                "GetPreferredAllocation": unary(self._prefer, messages.PreferredAllocationRequest),
                "Allocate": unary(self._allocate, messages.AllocateRequest),
                "PreStartContainer": unary(self._pre_start, messages.PreStartContainerRequest),
            },
        )

    def _list_and_watch(
        self, _: messages.Empty, context: grpc.ServicerContext
    ) -> Iterator[messages.ListAndWatchResponse]:
        """The whole list now and at each change, until the kubelet or the server goes."""
        told: tuple[Device, ...] | None = None
        if not context.add_callback(self._inventory.rouse):
            return

        def is_news(known: Known) -> bool:
            return not context.is_active() or known.devices(self.resource) != told

        while True:
            known = self._inventory.wait(is_news)
            if not context.is_active():
                return
            told = known.devices(self.resource)
            yield messages.ListAndWatchResponse(devices=[_device(device) for device in told])

    def _prefer(
        self, request: messages.PreferredAllocationRequest, _: grpc.ServicerContext
    ) -> messages.PreferredAllocationResponse:
        devices = {device.id: device for device in self._inventory.now().devices(self.resource)}
        answers = [
            messages.ContainerPreferredAllocationResponse(
                deviceIDs=preferred(
                    devices, each.available_deviceIDs, each.must_include_deviceIDs, each.allocation_size
                )
            )
            for each in request.container_requests
        ]
        return messages.PreferredAllocationResponse(container_responses=answers)

    def _allocate(self, request: messages.AllocateRequest, context: grpc.ServicerContext) -> messages.AllocateResponse:
        known = self._inventory.now()
        try:
            answers = [self._container(known, each.devices_ids) for each in request.container_requests]
        except (Unavailable, OSError) as error:
            self._count(self.resource, "refused")
            log.warning("device refused", resource=self.resource, error=error)
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        self._count(self.resource, "given")
        return messages.AllocateResponse(container_responses=answers)

    def _container(self, known: Known, devices: Sequence[str]) -> messages.ContainerAllocateResponse:
        """What a container gets.

        Raises:
            Unavailable: a device is not what it should be.
            OSError: a slot's folder cannot be made.
        """
        pool = self._pool(known, devices)
        allocation = allocate(pool.resource, devices, self._hardware(), self._run_dir)
        for mount in allocation.mounts:
            Path(mount.host).mkdir(mode=0o755, parents=True, exist_ok=True)
        log.info("devices given", resource=self.resource, devices=",".join(devices))
        return messages.ContainerAllocateResponse(
            envs=dict(allocation.environment),
            mounts=[_mount(each) for each in allocation.mounts],
            devices=[] if self._uses_cdi else _nodes(allocation),
            cdi_devices=self._cdi_devices(devices) if self._uses_cdi and allocation.nodes else [],
        )

    def _cdi_devices(self, devices: Sequence[str]) -> list[messages.CDIDevice]:
        return [messages.CDIDevice(name=cdi.qualified(self.resource, device)) for device in devices]

    def _pre_start(
        self, request: messages.PreStartContainerRequest, context: grpc.ServicerContext
    ) -> messages.PreStartContainerResponse:
        """Whether what a container was given once is still so, for a kubelet that asks."""
        devices = request.devices_ids
        try:
            pool = self._pool(self._inventory.now(), devices)
            allocate(pool.resource, devices, self._hardware(), self._run_dir)
        except Unavailable as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return messages.PreStartContainerResponse()

    def _pool(self, known: Known, devices: Sequence[str]) -> Pool:
        pool = known.pool(self.resource)
        if pool is None:
            raise Unavailable(f"{self.resource} is not configured any more")
        if unknown := sorted({*devices} - {device.id for device in pool.devices}):
            raise Unavailable(f"{self.resource} has no device {', '.join(unknown)}")
        return pool


def _device(device: Device) -> messages.Device:
    nodes = [] if device.numa_node == NO_NODE else [messages.NUMANode(ID=device.numa_node)]
    return messages.Device(
        ID=device.id,
        health=UNHEALTHY if device.trouble else HEALTHY,
        topology=messages.TopologyInfo(nodes=nodes) if nodes else None,
    )


def _mount(mount: Mount) -> messages.Mount:
    """Read-only: one connects to a socket there all the same."""
    return messages.Mount(container_path=mount.container, host_path=mount.host, read_only=True)


def _nodes(allocation: Allocation) -> list[messages.DeviceSpec]:
    return [
        messages.DeviceSpec(container_path=node.container, host_path=node.host, permissions=PERMISSIONS)
        for node in allocation.nodes
    ]
