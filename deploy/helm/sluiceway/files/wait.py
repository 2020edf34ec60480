"""Waits until every pod of a DaemonSet is Ready: ``wait.py NAMESPACE NAME [SERVERS]``, in a pod that may get it.

SERVERS are API servers, separated by commas; without any the one of the pod's environment is asked.
"""

import json
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REQUEST_S = 10.0
PAUSE_S = 1.0


def is_ready(daemon_set: Mapping[str, Any]) -> bool:
    """Whether it is on all nodes where it should be; its status says of which generation it speaks."""
    status = daemon_set["status"]
    is_current = status.get("observedGeneration", 0) >= daemon_set["metadata"]["generation"]
    return bool(is_current and status["numberReady"] == status["desiredNumberScheduled"])


def servers(given: str, environ: Mapping[str, str]) -> Sequence[str]:
    """Those that are given, else the pod's own."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    own = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return [one.strip() for one in given.split(",") if one.strip()] or [own]


def main(namespace: str, name: str, given: str = "") -> None:
    """Ask until it is so; what fails is tried again, until the Job's time is over."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    for server in cycle(servers(given, os.environ)):
        url = f"{server}/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
        token = (ACCOUNT / "token").read_text()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310  https alone
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S, context=context) as answer:  # noqa: S310  as above
                if is_ready(json.load(answer)):
                    return
        except OSError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
