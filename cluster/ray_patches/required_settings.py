"""Settings and interfaces of Ray that AIMA cannot do without. They replace nothing, and stay with `ray.patches: off`.

Ray's documentation names few of them, so each is looked up in the installed Ray like a patch is. What is documented and
has no doubt (addresses, tokens, usage reports) is set where a node is started: cluster/head/start.py and
cluster/worker/ray_node.py.
"""

from cluster.ray_patches.checks import contains
from cluster.ray_patches.patch import EVERY_NODE, WORKERS, Node, Patch

_RAYLET, _GCS = "core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server"
_WHY_NOT_ELSE = "none: this is Ray's own setting"

REQUIRED = (
    Patch(
        name="state_on_disk",
        nodes=(Node.HEAD,),
        process="the GCS",
        buys="a killed head is back in 5.5 s, and its workers and their work carry on",
        instead=_WHY_NOT_ELSE,
        without="a head that is started again has forgotten its workers: they end, and others are bought",
        variables={"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": "{gcs_path}"},
        read_by=(_GCS,),
        needed=True,
    ),
    Patch(
        name="autoscaler_v2",
        nodes=EVERY_NODE,
        process="the GCS, the raylet and the autoscaler",
        buys="machines are bought and given back at all",
        instead=_WHY_NOT_ELSE,
        without="no machine is bought, or none is recognized when it joins",
        variables={
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": "{instance_id}",
            "RAY_NODE_TYPE_NAME": "{node_type}",
        },
        read_by=("autoscaler/v2/instance_manager/ray_installer.py", _GCS),
        needed=True,
    ),
    Patch(
        name="autoscaler_pace",
        nodes=(Node.HEAD,),
        process="the autoscaler",
        buys="demand is seen within 1 s, not 5; Ray waits for a machine as long as AIMA does, not an hour: less would"
        " make it ask for another one while the first still boots",
        instead=_WHY_NOT_ELSE,
        without="each cold start takes up to 4 s longer",
        variables={
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S": "{join_window_s:.0f}",
        },
        read_by=("autoscaler/_private/constants.py", "autoscaler/v2/instance_manager/config.py"),
        needed=True,
    ),
    Patch(
        name="link_patience",
        nodes=EVERY_NODE,
        process="the GCS and the raylets",
        buys="a link that is silent for a minute, or a head that comes back within overlay.grace_s, is no death",
        instead=_WHY_NOT_ELSE,
        without="a worker behind a bad link is taken for dead, and bought again",
        variables={
            "RAY_gcs_rpc_server_reconnect_timeout_s": "{grace_s:.0f}",
            "RAY_grpc_keepalive_timeout_ms": "120000",
            "RAY_health_check_failure_threshold": "10",
        },
        read_by=(_RAYLET,),
        needed=True,
    ),
    Patch(
        name="inline_results",
        nodes=EVERY_NODE,
        process="all that runs tasks and actors",
        # A starting replica answers Serve's controller with 115 KiB, and after a replica's death the controller holds
        # on to that answer. Kept as an object on the worker, it makes Ray call the worker busy for ever.
        buys="a worker whose replica has died becomes idle: Serve's controller keeps the 115 KiB of its first answer",
        instead=_WHY_NOT_ELSE,
        without="such a worker is billed until scaling.unused_limit_s ends it",
        variables={"RAY_max_direct_call_object_size": "1048576"},
        read_by=(_RAYLET,),
        needed=True,
    ),
    Patch(
        name="drain_deadline",
        nodes=WORKERS,
        process="a worker's `ray start`",
        buys="a worker that has to go has scaling.drain_s for the work that it has begun",
        instead=_WHY_NOT_ELSE,
        without="that work is given up, and done again elsewhere",
        variables={"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "{drain_s:g}"},
        read_by=("_private/ray_constants.py",),
        needed=True,
    ),
    Patch(
        name="node_provider",
        nodes=(Node.HEAD,),
        process="the autoscaler",
        buys="machines are bought at all: Ray's autoscaler calls autoscaler/ray_node_provider.py",
        instead="Ray documents external node providers for its autoscaler v1 only",
        without="no machine may be bought",
        checks=(
            contains(
                "autoscaler/node_provider.py",
                "class NodeProvider:",
                "def non_terminated_nodes(",
                "def node_tags(",
                "def is_running(",
                "def create_node_with_resources_and_labels(",
                "def terminate_nodes(",
            ),
            contains(
                "autoscaler/tags.py",
                "TAG_RAY_NODE_KIND = ",
                "TAG_RAY_NODE_NAME = ",
                "TAG_RAY_NODE_STATUS = ",
                "TAG_RAY_USER_NODE_TYPE = ",
                "NODE_KIND_HEAD = ",
                "STATUS_UP_TO_DATE = ",
            ),
            contains(
                "autoscaler/v2/instance_manager/node_provider.py", "class NodeProviderAdapter(ICloudInstanceProvider)"
            ),
        ),
        needed=True,
    ),
    Patch(
        name="node_activity",
        nodes=(Node.HEAD,),
        process="the autoscaler's node provider (autoscaler/ray_gcs.py)",
        buys="a machine that Ray calls busy though nothing of it is in use is ended after scaling.unused_limit_s",
        instead="`ray status` prints the same for people",
        without="such a machine is billed until scaling.max_age_s",
        checks=(
            contains("autoscaler/v2/sdk.py", "def get_cluster_status("),
            contains("autoscaler/v2/schema.py", "class NodeInfo:", "def used_resources(", "node_activity: "),
        ),
        needed=True,
    ),
    Patch(
        name="job_variable",
        nodes=EVERY_NODE,
        process="the driver of a batch job (pipelines/batch/command_line.py)",
        buys="the last line of a job's log, its result, is read before its worker ends",
        instead="Ray tells a program in no documented way that it was started by `ray job submit`",
        without="`ray job submit` may not show the result; it is in the output's manifest",
        checks=(contains("_private/runtime_env/constants.py", '"RAY_JOB_CONFIG_JSON_ENV_VAR"'),),
        needed=True,
    ),
)
