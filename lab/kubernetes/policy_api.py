"""The resource of sigs.k8s.io/network-policy-api, ClusterNetworkPolicy: its definition, from the pinned module."""

import json
import shutil
from pathlib import Path

from lab.kubernetes import golang
from lab.kubernetes.golang import POLICY_API, POLICY_SUITE, Say

# all fields and versions that there are
_FILE = "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml"


def definition(cache: Path, say: Say) -> Path:
    """The manifest of its CustomResourceDefinition, fetched when it is not in *cache*.

    Raises:
        BuildError: the module could not be had.
    """
    folder = cache / f"{POLICY_SUITE.module}-{golang.module_key(POLICY_SUITE.module)}"
    path = folder / Path(_FILE).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        of = golang.MODULES / POLICY_SUITE.module
        module = json.loads(golang.toolchain(say).run(of, "mod", "download", "-json", POLICY_API))
        unfinished = path.with_suffix(".unfinished")
        shutil.copyfile(Path(module["Dir"]) / _FILE, unfinished)
        unfinished.rename(path)
    return path
