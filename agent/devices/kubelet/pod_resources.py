"""Which pod has which device, as the kubelet says: final by the time that CNI's ADD comes."""

from collections.abc import Iterator
from pathlib import Path

import grpc

from agent.devices.kubelet import pod_resources_pb2 as messages
from agent.devices.kubelet.calls import POD_RESOURCES, POD_RESOURCES_SOCKET, channel, method
from agent.model.device import Allocated

TIMEOUT_S = 5.0
_NO_GET = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN}
)  # switched off by a feature gate, or older


class PodResources:
    """The kubelet's answers."""

    def __init__(self, kubelet_dir: Path) -> None:
        self._socket = kubelet_dir / POD_RESOURCES_SOCKET

    def all(self) -> tuple[Allocated, ...]:
        """Every device that a container of the node has.

        Raises:
            grpc.RpcError: the kubelet does not answer.
        """
        with channel(self._socket) as connection:
            call = method(connection, POD_RESOURCES, "List", messages.ListPodResourcesResponse)
            answer = call(messages.ListPodResourcesRequest(), TIMEOUT_S)
        return tuple(device for pod in answer.pod_resources for device in _devices(pod))

    def of(self, namespace: str, pod: str) -> tuple[Allocated, ...]:
        """The devices of one pod, in the kubelet's order; none where there is no such pod. Raises as :meth:`all`."""
        asked = messages.GetPodResourcesRequest(pod_name=pod, pod_namespace=namespace)
        try:
            with channel(self._socket) as connection:
                call = method(connection, POD_RESOURCES, "Get", messages.GetPodResourcesResponse)
                return tuple(_devices(call(asked, TIMEOUT_S).pod_resources))
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() not in _NO_GET:
                raise
        return tuple(each for each in self.all() if (each.namespace, each.pod) == (namespace, pod))


def _devices(pod: messages.PodResources) -> Iterator[Allocated]:
    for container in pod.containers:
        for devices in container.devices:
            for device in devices.device_ids:
                yield Allocated(pod.namespace, pod.name, container.name, devices.resource_name, device)
