"""The process that may spend money: the reconciler and its small API, beside Ray and out of its reach.

It keeps working while Ray is down, and while its ledger cannot be written or read. It listens on loopback only.
"""

import os
import sys

import uvicorn

from autoscaler.errors import CloudError, UnknownCloud
from cluster.config.loader import load_settings
from cluster.config.state_directory import StateDir
from cluster.orchestrator.api import create_app
from cluster.orchestrator.orchestrator import Orchestrator
from pipelines import logs


def main() -> None:
    """Serve until SIGTERM. Settings come from AIMA_CONFIG, the address from the cluster's card."""
    settings = load_settings()
    logs.configure("orchestrator", settings.log.format, settings.log.level)
    state = StateDir(settings.state_dir)
    card = state.read_card()
    if card is None:
        sys.exit(f"{state.card_path} is missing: start the cluster with `aima up`")
    try:
        app = create_app(Orchestrator(settings, state, card))
    except (CloudError, UnknownCloud) as error:
        sys.exit(str(error))
    os.chdir("/")
    uvicorn.run(app, host=card.host, port=card.address.orchestrator_port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
