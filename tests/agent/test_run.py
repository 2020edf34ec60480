"""What an agent loads of Python before it runs."""

import subprocess
import sys


def test_the_client_of_kubernetes_is_loaded_only_for_an_api_server() -> None:
    loaded = "import sys, agent.run; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", "it costs each start with a folder of manifests 0.2 s"
