"""Our plugin for definitions that name it with a kind: what the shim would ask the agent for, without the shim.

Serves ``agent.pods.delegate``, which executes the plugins of others. An interface of a further network has a network's
name of its own in the books, that no runtime can say: a GC of the cluster's network means only what that has made.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from agent.cni.error import CniError, Code, refused
from agent.cni.interfaces import OwnInterfaces
from agent.cni.request import Command, Request, parse
from agent.model.name import ObjectName
from agent.model.network import OUR_PLUGIN
from agent.pods.device.handover import TROUBLES
from agent.pods.errors import PodRefused
from agent.pods.plugin import PluginFailed
from agent.pods.pods import REFUSALS

FURTHER = "further/"  # before a network's name: a slash is in no name that a runtime says


class InProcess:
    """Our plugin, as ``Plugins.run`` has others'."""

    def __init__(self, own: OwnInterfaces) -> None:
        self._own = own

    def __call__(self, environment: Mapping[str, str], config: Mapping[str, Any], definition: ObjectName | None) -> Any:
        """Do what is asked for; what ADD answers. *definition* is that of a further interface.

        Raises:
            PluginFailed: it was not done.
        """
        does: Mapping[str, Callable[[Mapping[str, str], bytes], Any]]
        does = {Command.ADD: partial(self._add, definition), Command.DEL: self._delete, Command.CHECK: self._check}
        try:
            return does[environment["CNI_COMMAND"]](environment, msgspec.json.encode(config))
        except PodRefused as error:
            raise _failed(refused(error)) from error
        except CniError as error:
            raise _failed(error) from error
        except (*REFUSALS, *TROUBLES) as error:
            raise PluginFailed(OUR_PLUGIN, str(error), Code.TRY_LATER) from error

    def _add(self, definition: ObjectName | None, environment: Mapping[str, str], stdin: bytes) -> Any:
        request = replace(_request(environment, stdin), definition=definition)
        return msgspec.json.decode(self._own.add(request))

    def _delete(self, environment: Mapping[str, str], stdin: bytes) -> None:
        """By the names alone, whatever the configuration says; it tells only who has given addresses."""
        if self._own.delete((environment["CNI_CONTAINERID"], environment["CNI_IFNAME"])):
            return
        with suppress(CniError):
            self._own.forget(_request(environment, stdin))

    def _check(self, environment: Mapping[str, str], stdin: bytes) -> None:
        self._own.check(_request(environment, stdin))


def _request(environment: Mapping[str, str], stdin: bytes) -> Request:
    request = parse(environment, stdin)
    return replace(request, network=f"{FURTHER}{request.network}", is_further=True)


def _failed(error: CniError) -> PluginFailed:
    return PluginFailed(OUR_PLUGIN, "; ".join(filter(None, (str(error), error.details))), error.code)
