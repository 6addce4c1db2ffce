"""Whether a cluster's API answers."""

import httpx

from cluster.config.state_directory import ClusterCard

_TIMEOUT_S = 2.0


def is_ready(card: ClusterCard) -> bool:
    """Asks once; False within two seconds at the latest."""
    try:
        return httpx.get(f"{card.api_url}/v1/health", timeout=_TIMEOUT_S).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
