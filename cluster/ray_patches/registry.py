"""Every difference from stock Ray, one entry each. A new one is a new entry here, with its code in a file beside it.

How the figures were measured: CPU as a share of one core and memory as proportional set size, of an idle head on Ray
2.60.0, by `python -m tests.benchmarks.footprint --minutes 1.5`, and the same with `--without all` and `--without
serve_pacing`, on two cores that others used, too: 9.0, 16.8 and 11.6 % of a core, 901, 990 and 901 MiB in all.
Undisturbed, CPU times are about half of these.
"""

from cluster.ray_patches.checks import Unchanged, contains
from cluster.ray_patches.patch import EVERY_NODE, WORKERS, Node, Patch, Place

# Ray's dashboard modules that answer requests: jobs, `serve deploy`, and `ray list`, which batch jobs use. The nodes'
# module writes down which node is the head, where jobs' drivers are started.
DASHBOARD_MODULES = ("JobHead", "NodeHead", "ServeHead", "StateHead")

_RAYLET, _GCS = "core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server"
_SERVE = "serve/_private"
# `ray start` starts its processes by this function, which gets the command and what the process is.
_STARTS_PROCESSES = contains(
    "_private/services.py", "def start_ray_process(\n    command: List[str],\n    process_type: str,"
)
_STARTS_THE_AUTOSCALER = (
    _STARTS_PROCESSES,
    contains("_private/services.py", 'os.path.join(RAY_PATH, AUTOSCALER_V2_DIR, "monitor.py")'),
    contains("autoscaler/v2/monitor.py", 'if __name__ == "__main__":'),
)

PATCHES = (
    Patch(
        name="serve_pacing",
        nodes=(Node.HEAD,),
        process="Serve's controller",
        buys="3.3 % of a core: the controller 4.4 to 2.0 %, and the GCS, which it asks, 1.6 to 0.7 %",
        instead="RAY_SERVE_CONTROL_LOOP_INTERVAL_S is one interval for rest and work: at 0.5 s a cold start takes"
        " seconds longer, because a replica needs several looks, and at 0.25 s half of the saving is gone",
        without="the controller looks around ten times a second, also while nothing happens",
        variables={"RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "cluster.ray_patches.serve_controller.apply"},
        read_by=(f"{_SERVE}/constants.py",),
        checks=(
            contains(f"{_SERVE}/controller.py", "    CONTROL_LOOP_INTERVAL_S,\n", "call_function_from_import_path("),
            Unchanged(f"{_SERVE}/controller.py", "ServeController.run_control_loop", "a31d7969a633"),
            Unchanged(f"{_SERVE}/controller.py", "ServeController.run_control_loop_step", "a6e283be3bb9"),
            Unchanged(f"{_SERVE}/application_state.py", "ApplicationStateManager.__init__", "07d98da46b32"),
            Unchanged(f"{_SERVE}/application_state.py", "ApplicationStateManager.update", "0133d2aa34ef"),
            Unchanged(f"{_SERVE}/deployment_state.py", "DeploymentState.should_autoscale", "c5d39e695d64"),
            Unchanged(f"{_SERVE}/deployment_state.py", "DeploymentState.target_num_replicas", "3cbb36a3043d"),
            contains(
                f"{_SERVE}/deployment_state.py",
                "self._all_deployments_healthy = all_deployments_healthy",
                "self._deployment_states: ",
                "ds._replicas.count() == ds.target_num_replicas",
            ),
        ),
    ),
    Patch(
        name="serve_timers",
        nodes=(Node.HEAD,),
        process="Serve's controller, proxy and replicas",
        buys="1.1 % of a core: the API's process 2.6 to 2.1 %, the controller 4.7 to 4.4 %, the proxy 1.2 to 0.9 %",
        instead="these are variables of Serve, though not documented ones",
        without="Serve writes down numbers that nobody reads, and asks its proxy each second how it is",
        variables={
            # A proxy that has ended is started again after three of these.
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "3",
            "RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR": "0.5",
            "RAY_SERVE_EVENT_LOOP_MONITORING_INTERVAL_S": "60",
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
        },
        read_by=(f"{_SERVE}/constants.py",),
    ),
    Patch(
        name="core_timers",
        nodes=(Node.HEAD,),
        process="the GCS, the raylet and what uses Ray's core on the head",
        buys="0.7 % of a core: the GCS 2.0 to 1.6 %, the raylet 0.8 to 0.5 %",
        instead="these are settings of Ray's core, though not documented ones (ray_config_def.h)",
        without="the head's raylet works through timers made for a busy node, and metrics are collected for nobody",
        variables={
            "RAY_enable_metrics_collection": "0",
            "RAY_event_stats": "0",
            "RAY_event_stats_print_interval_ms": "600000",
            "RAY_debug_dump_period_milliseconds": "600000",
            "RAY_io_context_monitor_probe_interval_ms": "10000",
            "RAY_task_events_report_interval_ms": "5000",
            # The head's raylet has a store for small objects, and few workers.
            "RAY_raylet_check_gc_period_milliseconds": "1000",
            "RAY_kill_idle_workers_interval_ms": "1000",
            "RAY_object_manager_timer_freq_ms": "1000",
            "RAY_local_fs_monitor_interval_ms": "2000",
            "RAY_memory_monitor_refresh_ms": "1000",
        },
        read_by=(_RAYLET,),
    ),
    Patch(
        name="dashboard_timers",
        nodes=(Node.HEAD,),
        process="the dashboard, its modules and its agent",
        buys="1.1 % of a core: the agent 0.7 to 0.1 %, the dashboard 0.9 to 0.4 %",
        instead="these are variables of the dashboard, though not documented ones",
        without="the dashboard and its agent report every few seconds to a page that nobody has open",
        variables={
            "METRICS_RECORD_INTERVAL_S": "60",
            "GCS_CHECK_ALIVE_INTERVAL_SECONDS": "30",
            "REPORTER_UPDATE_INTERVAL_MS": "60000",
            "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "5",
            "SCAN_EVENT_DIR_INTERVAL_SECONDS": "60",
            "RAY_DASHBOARD_AGGREGATOR_AGENT_CHECK_MAIN_THREAD_LIVENESS_INTERVAL_SECONDS": "5",
        },
        read_by=(
            "dashboard/consts.py",
            "dashboard/modules/reporter/reporter_consts.py",
            "dashboard/modules/event/event_consts.py",
            "dashboard/modules/aggregator/aggregator_agent.py",
        ),
    ),
    Patch(
        name="dashboard_modules",
        nodes=(Node.HEAD,),
        process="the dashboard",
        buys="82 MiB (216 to 134 MiB for the modules' processes), and 1.0 % of a core",
        instead="`ray start` starts all nine modules or, with --include-dashboard=false, none, and then there are no"
        " jobs; --disable-frontend closes the port that jobs come through",
        without="the dashboard runs all of its modules, each a process, and leaves a directory in the temporary"
        " directory each time it is told to end",
        checks=(
            _STARTS_PROCESSES,
            contains("dashboard/dashboard.py", '"--modules-to-load"'),
            contains("dashboard/modules/job/job_head.py", "class JobHead(SubprocessModule"),
            contains("dashboard/modules/node/node_head.py", "class NodeHead(SubprocessModule"),
            contains("dashboard/modules/serve/serve_head.py", "class ServeHead(SubprocessModule"),
            contains("dashboard/modules/state/state_head.py", "class StateHead(SubprocessModule"),
        ),
        apply="cluster.ray_patches.process_commands:narrow_dashboard",
        at=(Place.RAY_START,),
    ),
    Patch(
        name="autoscaler_configuration",
        nodes=(Node.HEAD,),
        process="the autoscaler",
        buys="0.8 % of a core: the autoscaler 1.4 to 0.6 %",
        instead="AUTOSCALER_UPDATE_INTERVAL_S also slows down each purchase",
        without="the autoscaler reads its file and validates it against a schema every second",
        checks=(
            *_STARTS_THE_AUTOSCALER,
            Unchanged("autoscaler/v2/instance_manager/config.py", "FileConfigReader", "8a324cf59f31"),
        ),
        apply="cluster.ray_patches.autoscaler_monitor:read_when_changed",
        at=(Place.AUTOSCALER,),
    ),
    Patch(
        name="steady_clock",
        nodes=(Node.HEAD,),
        process="Serve's processes and the autoscaler, together or not at all: one tells the other deadlines",
        buys="a machine clock that is 370 s ahead and is set right no longer keeps an idle GPU for 370 s"
        " (tests/unit/cluster/test_steady_clock.py, the same with Serve's own code)",
        instead="Serve and the autoscaler count deadlines by time.time, which follows the machine's clock",
        without="a step of the machine's clock moves Serve's delays and the autoscaler's deadlines by as much: an idle"
        " machine may stay as long, or work be given up early; what AIMA itself decides is not affected",
        variables={"RAY_preload_python_modules": "cluster.ray_patches.head_process"},
        read_by=(_RAYLET,),
        checks=_STARTS_THE_AUTOSCALER,
        apply="cluster.steady_clock:install_kept",
        at=(Place.HEAD_PYTHON, Place.AUTOSCALER),
    ),
    Patch(
        name="node_drain",
        nodes=(Node.HEAD,),
        process="the autoscaler's node provider (autoscaler/ray_gcs.py)",
        buys="a machine that has to go ends its work in peace: nothing runs twice (not measured)",
        instead="`ray drain-node` calls the same function, is not documented either, and starts a process each time",
        without="a machine that has to go is given work until it ends; that work is done again elsewhere",
        checks=(
            contains("scripts/scripts.py", "gcs_client.drain_node("),
            contains(
                "autoscaler/v2/instance_manager/subscribers/ray_stopper.py", "accepted, reject_msg_str = gcs_client"
            ),
            contains("_private/node.py", "DRAIN_NODE_REASON_PREEMPTION"),
        ),
    ),
    Patch(
        name="node_removal",
        nodes=(Node.HEAD,),
        process="the autoscaler's node provider (autoscaler/ray_gcs.py)",
        buys="a machine that vanished is replaced at once, not after 44 to 62 s (measured by killing one)",
        instead="health checks that fail sooner would also take a link that is silent for a minute for a death",
        without="Ray believes in a vanished machine until ten health checks have failed, about a minute",
        checks=(
            contains("_private/gcs_utils.py", "def create_gcs_channel(address: str"),
            contains("core/generated/gcs_service_pb2_grpc.py", "self.UnregisterNode = ", "UnregisterNodeRequest."),
            contains("core/generated/common_pb2.py", "UNEXPECTED_TERMINATION"),
        ),
    ),
    Patch(
        name="warm_workers",
        nodes=(Node.GPU_WORKER,),
        process="the Python workers that a node with a GPU starts with",
        buys="torch, Ray Serve and Ray Data, 4.4 s of a core to import, are there before work comes; not measured on a"
        " rented GPU, and nothing on two cores, where a worker rests first",
        instead="Ray starts workers when there is work for them, and each imports torch while the request waits",
        without="a cold start waits for torch, Ray Serve and Ray Data to be imported, some seconds",
        variables={
            "RAY_enable_worker_prestart": "1",
            "RAY_preload_python_modules": "cluster.ray_patches.preloaded_worker",
            "AIMA_PRESTARTED_WORKERS": "{prestarted_workers}",
        },
        read_by=(_RAYLET,),
        checks=(
            _STARTS_PROCESSES,
            contains("_private/services.py", '"--num_prestart_python_workers={}"'),
            contains("exceptions.py", "ray._raylet.getproctitle()"),
        ),
        apply="cluster.ray_patches.process_commands:limit_prestarted_workers",
        at=(Place.RAY_START,),
    ),
    Patch(
        name="log_monitor_interval",
        nodes=WORKERS,
        process="a worker's log monitor",
        buys="half of the log monitor's CPU time: it looks for new files twice a second, not ten times",
        instead="without the log monitor, drivers see nothing of what their tasks print",
        without="the log monitor looks for new files ten times a second",
        variables={"RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1"},
        read_by=("_private/log_monitor.py",),
    ),
    Patch(
        name="data_actors",
        nodes=EVERY_NODE,
        process="the driver of a batch job",
        buys="up to 4 s of a core and 300 MiB a job, and nothing outlives a job that would keep its machine busy",
        instead="Ray Data has no setting for any of them; usage reports are off by RAY_USAGE_STATS_ENABLED=0",
        without="each job starts three processes of Ray Data, which stay; a machine is then ended when nothing of it"
        " has been in use for scaling.unused_limit_s, and Ray Data may ask for more machines than the job needs",
        variables={"AIMA_AROUND_DATASETS": "cluster.ray_patches.data_actors:replaced"},
        checks=(
            contains(
                "data/_internal/execution/streaming_executor.py", "self._cluster_autoscaler = create_cluster_auto"
            ),
            Unchanged(
                "data/_internal/cluster_autoscaler/base_cluster_autoscaler.py", "ClusterAutoscaler", "e33998c82c2a"
            ),
            Unchanged("data/_internal/cluster_autoscaler/__init__.py", "create_cluster_autoscaler", "be2879a59fb2"),
            Unchanged(
                "data/_internal/execution/node_trackers/actor_location.py", "ActorLocationTracker", "d0261f13f482"
            ),
            contains(
                "data/_internal/execution/operators/actor_pool_map_operator.py",
                "actor_location_tracker=get_or_create_actor_location_tracker(),",
                "    get_actor_locations,\n",
            ),
            Unchanged("data/_internal/utils/cached_ray_internals.py", "get_actor_locations", "c30b23e7635b"),
            Unchanged("data/_internal/utils/cache.py", "timed_cache", "351d9e2a9109"),
            Unchanged("data/_internal/stats.py", "_StatsManager", "8ea33bea3ffa"),
        ),
    ),
)

PATCH_NAMES = tuple(patch.name for patch in PATCHES)
