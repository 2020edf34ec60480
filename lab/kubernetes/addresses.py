"""The addresses in Kubernetes' configuration, and those that follow from it."""

from lab.addresses import PODS4, PODS6, SERVICES4, SERVICES6, Networks
from lab.site import Site

POD_CIDRS = (PODS4, PODS6)
SERVICE_CIDRS = (SERVICES4, SERVICES6)
API_SERVICE = SERVICES4[1]  # the API server gives its own service the first address
DNS_SERVICE = SERVICES4[10]
API_PORT = 6443


def server(site: Site) -> str:
    """Where the API server is reached, by machines of the lab."""
    return f"https://{site.control_plane.addresses[0]}:{API_PORT}"


def service() -> str:
    """Where it is reached by what services are served to."""
    return f"https://{API_SERVICE}"


def cidr_list(cidrs: Networks) -> str:
    """Both families, as Kubernetes' flags want them."""
    return ",".join(map(str, cidrs))
