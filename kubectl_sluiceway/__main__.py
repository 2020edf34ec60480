"""The zipapp's start."""

import sys

from kubectl_sluiceway.app import main

sys.exit(main())
