"""The names of launches: unique for ever, and told apart from everything else in an account.

`{cluster id}-{node type}-{token}`. The last two parts hold no hyphen, so a name is read from its end in one way only,
and cluster ids are compared whole: `aima` owns nothing of `aima-staging`.
"""

import re
import secrets

_NAME = re.compile(r"(?P<cluster_id>.+)-(?P<node_type>[^-]+)-(?P<token>[0-9a-f]{8})")
_UNGUESSABLE = re.compile(r"(?:[a-z0-9]+-)+[0-9a-f]{12,32}")


def new_cluster_id() -> str:
    """An id that no other installation has: it tells whose machines are whose in an account that several share."""
    return f"aima-{secrets.token_hex(8)}"


def is_unguessable(cluster_id: str) -> bool:
    """Whether it is made like new_cluster_id()'s: words, then at least twelve hexadecimal digits."""
    return _UNGUESSABLE.fullmatch(cluster_id) is not None


def launch_name(cluster_id: str, node_type: str, token: str) -> str:
    """The name of one launch; `token` is eight random hexadecimal digits."""
    return f"{cluster_id}-{node_type.replace('-', '_')}-{token}"


def stray_name(name: str, instance_id: str) -> str:
    """The ledger's name for a machine that carries `name` though no launch claims it, such as a second one."""
    return f"{name}+{instance_id}"[:128]


def cluster_of(name: str) -> str:
    """The id of the cluster that gave this name; "" when no cluster did."""
    found = _NAME.fullmatch(name)
    return found["cluster_id"] if found else ""


def is_launch_of(cluster_id: str, name: str) -> bool:
    """Whether this cluster gave that name. A name that only begins alike belongs to somebody else."""
    return bool(cluster_id) and cluster_of(name) == cluster_id
