"""Where the API server is, as containers are told by KUBERNETES_SERVICE_HOST."""

from collections.abc import Mapping

from agent.migrate import objects
from agent.migrate.flags import api_server
from agent.migrate.objects import Objects
from agent.migrate.report import Notes

FIELD = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"


def write_api_server(notes: Notes, found: Objects, variables: Mapping[str, str], where: str) -> None:
    """The option, unless the address is that of the API's own Service, to which nobody leads without kube-proxy."""
    if not (server := api_server(variables)):
        return
    host = variables["KUBERNETES_SERVICE_HOST"]
    if host in _of_service(found):
        text = f"{host} is the API's own Service, to which without kube-proxy only running agents lead"
        notes.missing(where, FIELD, text, "give --api-server where the API servers themselves answer")
    else:
        notes.option("api-server", server, where, FIELD)


def _of_service(found: Objects) -> frozenset[str]:
    own = (item for item in found.of_kind("Service", "") if objects.name(item) == "kubernetes")
    specs = [objects.spec(item) for item in own if objects.namespace(item) == "default"]
    return frozenset(str(one) for spec in specs for one in (spec.get("clusterIP"), *(spec.get("clusterIPs") or ())))
