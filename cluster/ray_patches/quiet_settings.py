"""What Ray does on the head while nothing happens, made rare, and what it keeps in memory there, left out.

Each value applies to the head's own processes only: a worker's node has its own environment. Names and defaults are
those of Ray 2.60 (ray_config_def.h, serve/_private/constants.py, the dashboard's consts).
"""

# The modules of Ray's dashboard that answer requests: jobs, `serve deploy`, and `ray list`, which batch jobs use. Of
# the nodes' module only this is needed: it writes down which node is the head, where jobs' drivers are started. The
# others only feed its web page, each in a process of its own.
DASHBOARD_MODULES = ("JobHead", "NodeHead", "ServeHead", "StateHead")
# Imported by each of Ray's workers on the head before the work it is started for.
PRELOADED = "cluster.ray_patches.head_process"

# Less CPU time.
QUIET = {
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "cluster.ray_patches.serve_controller.rest_while_quiet",
    # A proxy that has ended is started anew after three looks.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "3",
    # How often numbers are written down that nobody reads: our own /metrics do not come from Ray.
    "RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR": "0.5",
    "RAY_SERVE_EVENT_LOOP_MONITORING_INTERVAL_S": "60",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_event_stats_print_interval_ms": "600000",
    "RAY_debug_dump_period_milliseconds": "600000",
    "RAY_io_context_monitor_probe_interval_ms": "10000",
    "RAY_task_events_report_interval_ms": "5000",
    "METRICS_RECORD_INTERVAL_S": "60",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "5",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "60",
    "RAY_DASHBOARD_AGGREGATOR_AGENT_CHECK_MAIN_THREAD_LIVENESS_INTERVAL_SECONDS": "5",
    # The head's raylet has a store for small objects, and few workers. How often it tells the demand stays as it is.
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_kill_idle_workers_interval_ms": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_local_fs_monitor_interval_ms": "2000",
    "RAY_memory_monitor_refresh_ms": "1000",
    "GCS_CHECK_ALIVE_INTERVAL_SECONDS": "30",
}
# Less memory.
SMALL = {
    # Ray's processes have dozens of threads; glibc would keep an arena of its own for each that ever allocates.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "RAY_preload_python_modules": PRELOADED,
}
