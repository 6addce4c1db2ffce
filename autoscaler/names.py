"""The names of launches: unique for ever, and told apart from everything else in an account."""

import re


def launch_name(cluster_id: str, node_type: str, token: str) -> str:
    """The name of one launch; `token` is eight random hexadecimal digits."""
    return f"{cluster_id}-{node_type}-{token}"


def stray_name(name: str, instance_id: str) -> str:
    """The ledger's name for a machine that carries `name` though no launch claims it, such as a second one."""
    return f"{name}+{instance_id}"[:128]


def is_launch_of(cluster_id: str, name: str) -> bool:
    """Whether this cluster gave that name. A name that only begins alike belongs to somebody else."""
    return re.fullmatch(rf"{re.escape(cluster_id)}-.+-[0-9a-f]{{8}}", name) is not None
