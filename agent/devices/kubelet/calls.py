"""The kubelet's two APIs: their sockets, methods and messages, in one place for who serves and who asks."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message

API_VERSION = "v1beta1"
DEVICE_PLUGIN, REGISTRATION = "v1beta1.DevicePlugin", "v1beta1.Registration"
POD_RESOURCES = "v1.PodResourcesLister"
PLUGINS = Path("device-plugins")  # below the kubelet's folder
KUBELET = "kubelet.sock"
POD_RESOURCES_SOCKET = Path("pod-resources/kubelet.sock")
MOST_OCTETS = 16 << 20  # of a message: that of all pods of a node is large

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)

_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_OCTETS),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel to a socket waits as long as one that failed before
)


def channel(socket: Path) -> AbstractContextManager[grpc.Channel]:
    """A connection to a Unix socket, for a few calls: one that is kept waits long for a kubelet that starts again."""
    return grpc.insecure_channel(f"unix://{socket}", options=_OPTIONS)


def method(
    connection: grpc.Channel, service: str, name: str, answer: type[Answered]
) -> Callable[[Message, float], Answered]:
    """A function that asks, and waits so many seconds for the answer; raises grpc.RpcError."""
    call: grpc.UnaryUnaryMultiCallable[Message, Answered] = connection.unary_unary(
        f"/{service}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return lambda message, timeout_s: call(message, timeout=timeout_s)


def unary(
    behavior: Callable[[Asked, grpc.ServicerContext], Message], request: type[Asked]
) -> "grpc.RpcMethodHandler[Asked, Message]":
    """How a method that answers once is served."""
    return grpc.unary_unary_rpc_method_handler(behavior, request.FromString, lambda answer: answer.SerializeToString())


def why(error: grpc.RpcError) -> str:
    """What a call failed of, in its server's words."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)
