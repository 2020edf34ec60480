"""A kubelet as device plugins see it: its sockets, registration, what it then asks, and its pods' devices."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import grpc

from agent.devices.kubelet import device_plugin_pb2 as plugin
from agent.devices.kubelet import pod_resources_pb2 as pods
from agent.devices.kubelet.calls import DEVICE_PLUGIN, POD_RESOURCES, REGISTRATION, channel, method, unary

PATIENCE_S = 60.0


class Kubelet:
    """One kubelet's folder; :meth:`start` and :meth:`stop` are a process's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registered: SimpleQueue[plugin.RegisterRequest] = SimpleQueue()
        self.given: dict[tuple[str, str], list[pods.ContainerResources]] = {}  # by namespace and pod
        self.has_get = True
        self._servers: list[grpc.Server] = []

    def start(self) -> None:
        """Empty the folder of sockets, as the real one does, and serve."""
        sockets = self.folder / "device-plugins"
        sockets.mkdir(parents=True, exist_ok=True)
        for path in sockets.glob("*.sock"):
            path.unlink()
        (self.folder / "pod-resources").mkdir(exist_ok=True)
        register = {"Register": unary(self._register, plugin.RegisterRequest)}
        listing: dict[str, Any] = {"List": unary(self._list, pods.ListPodResourcesRequest)}
        if self.has_get:
            listing["Get"] = unary(self._get, pods.GetPodResourcesRequest)
        self._serve(sockets / "kubelet.sock", REGISTRATION, register)
        self._serve(self.folder / "pod-resources/kubelet.sock", POD_RESOURCES, listing)

    def stop(self) -> None:
        """End, and with it its sockets."""
        while self._servers:
            self._servers.pop().stop(0).wait()

    def stir(self) -> None:
        """An event in its folder, in place of the kernel's that a change of the real sysfs is: the plugin looks."""
        (self.folder / "device-plugins/event").write_text("")

    def gives(self, namespace: str, pod: str, container: str, resource: str, *devices: str) -> None:
        """A container has devices."""
        own = pods.ContainerDevices(resource_name=resource, device_ids=devices)
        self.given.setdefault((namespace, pod), []).append(pods.ContainerResources(name=container, devices=[own]))

    def next_registration(self) -> plugin.RegisterRequest:
        """The next that comes."""
        return self.registered.get(timeout=PATIENCE_S)

    @contextmanager
    def dialled(self, request: plugin.RegisterRequest) -> Iterator["Dialled"]:
        """The plugin that has registered so."""
        with channel(self.folder / "device-plugins" / request.endpoint) as connection:
            yield Dialled(connection)

    def _serve(self, socket: Path, service: str, methods: Any) -> None:
        handlers = [grpc.method_handlers_generic_handler(service, methods)]
        server = grpc.server(ThreadPoolExecutor(4), handlers=handlers)
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        self._servers.append(server)

    def _register(self, request: plugin.RegisterRequest, _: object) -> plugin.Empty:
        self.registered.put(request)
        return plugin.Empty()

    def _list(self, _: object, __: object) -> pods.ListPodResourcesResponse:
        return pods.ListPodResourcesResponse(pod_resources=[self._pod(*name) for name in self.given])

    def _get(self, request: pods.GetPodResourcesRequest, context: grpc.ServicerContext) -> pods.GetPodResourcesResponse:
        name = request.pod_namespace, request.pod_name
        if name not in self.given:
            context.abort(grpc.StatusCode.UNKNOWN, f"pod {name} not found")
        return pods.GetPodResourcesResponse(pod_resources=self._pod(*name))

    def _pod(self, namespace: str, pod: str) -> pods.PodResources:
        return pods.PodResources(namespace=namespace, name=pod, containers=self.given[namespace, pod])


class Dialled:
    """The kubelet's end of its connection to a plugin."""

    def __init__(self, connection: grpc.Channel) -> None:
        self._connection = connection
        self._lists: SimpleQueue[dict[str, plugin.Device] | None] = SimpleQueue()

    def options(self) -> plugin.DevicePluginOptions:
        """What the plugin can."""
        return method(self._connection, DEVICE_PLUGIN, "GetDevicePluginOptions", plugin.DevicePluginOptions)(
            plugin.Empty(), PATIENCE_S
        )

    def watch(self) -> None:
        """Begin to read the lists."""
        call: Any = self._connection.unary_stream(
            f"/{DEVICE_PLUGIN}/ListAndWatch",
            request_serializer=plugin.Empty.SerializeToString,
            response_deserializer=plugin.ListAndWatchResponse.FromString,
        )(plugin.Empty(), wait_for_ready=True)
        Thread(target=self._read, args=(call,), daemon=True).start()

    def next_list(self) -> dict[str, plugin.Device]:
        """The next whole list, by ids."""
        found = self._lists.get(timeout=PATIENCE_S)
        assert found is not None, "the stream has ended"
        return found

    def next_health(self) -> dict[str, str]:
        """The same, as health alone."""
        return {name: device.health for name, device in self.next_list().items()}

    def waits_for_end(self) -> None:
        """Return when the stream has ended, whatever it said before."""
        while self._lists.get(timeout=PATIENCE_S) is not None:
            pass

    def allocate(self, *devices: str) -> plugin.ContainerAllocateResponse:
        """A container's; raises grpc.RpcError."""
        asked = plugin.AllocateRequest(container_requests=[plugin.ContainerAllocateRequest(devices_ids=devices)])
        call = method(self._connection, DEVICE_PLUGIN, "Allocate", plugin.AllocateResponse)
        [answer] = call(asked, PATIENCE_S).container_responses
        return answer

    def prefers(self, *available: str, must: tuple[str, ...] = (), size: int) -> list[str]:
        """Which of the available it would have taken."""
        one = plugin.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must, allocation_size=size
        )
        call = method(self._connection, DEVICE_PLUGIN, "GetPreferredAllocation", plugin.PreferredAllocationResponse)
        [answer] = call(plugin.PreferredAllocationRequest(container_requests=[one]), PATIENCE_S).container_responses
        return [*answer.deviceIDs]

    def pre_start(self, *devices: str) -> None:
        """A container is about to start; raises grpc.RpcError."""
        call = method(self._connection, DEVICE_PLUGIN, "PreStartContainer", plugin.PreStartContainerResponse)
        call(plugin.PreStartContainerRequest(devices_ids=devices), PATIENCE_S)

    def _read(self, call: Any) -> None:
        try:
            for answer in call:
                self._lists.put({device.ID: device for device in answer.devices})
        except grpc.RpcError:
            pass
        self._lists.put(None)
