"""What the kubelet has given away: for the pools, and for those that ask at the socket."""

from collections.abc import Mapping

import grpc

from agent.devices.inventory import Inventory, Known
from agent.devices.kubelet.calls import why
from agent.devices.kubelet.pod_resources import PodResources
from agent.log import logger
from agent.model.device import Allocated, DeviceState
from agent.model.name import Problem
from agent.pods.pod_devices import Answer, Question

log = logger(__name__)

FRESH_S = 10.0  # so long an answer is as good as another


class Given:
    """Asks the kubelet, seldom for the pools and each time for others."""

    def __init__(self, kubelet: PodResources, inventory: Inventory) -> None:
        self._kubelet = kubelet
        self._inventory = inventory
        self._owners: Mapping[str, str] = {}
        self._next_s = 0.0

    def owners(self, now_s: float) -> Mapping[str, str]:
        """The resource of each device that a container has, as the kubelet said last; *now_s* is a steady clock's."""
        if now_s >= self._next_s:
            self._next_s = now_s + FRESH_S
            try:
                self._owners = {each.device: each.resource for each in self._kubelet.all()}
            except grpc.RpcError as error:
                log.debug("the kubelet does not say which devices it has given", error=why(error))
        return self._owners

    def answer(self, question: Question) -> Answer:
        """What somebody asks at the socket."""
        known = self._inventory.now()
        try:
            given = self._of(question)
        except grpc.RpcError as error:
            reason = f"the kubelet does not say which devices it has given: {why(error)}"
            return Answer(states=_states(question, known), problems=_problems(question, known), error=reason)
        return Answer(given, _states(question, known), _problems(question, known))

    def _of(self, question: Question) -> tuple[Allocated, ...]:
        return self._kubelet.of(question.namespace, question.pod) if question.pod else self._kubelet.all()


def _states(question: Question, known: Known) -> tuple[DeviceState, ...]:
    """Of all devices, where no pod is asked for."""
    pools = () if question.pod else known.pools.pools
    return tuple(
        DeviceState(pool.resource.name, device.id, device.trouble) for pool in pools for device in pool.devices
    )


def _problems(question: Question, known: Known) -> tuple[Problem, ...]:
    return () if question.pod else known.pools.problems
