"""Every difference from stock Ray: what each patch is for, whether it fits the installed Ray, and how it is applied.

From `aima up` to Ray's processes:

1. cluster/local/embedded.py starts cluster/head/start.py (in Kubernetes cluster/head/kubernetes_entrypoint.py does).
2. head/start.py asks decision.py which patches of registry.py apply on this head: `ray.patches` must be `auto`, Ray's
   release one on which they were proved, and each patch's own checks must pass. required_settings.py always applies.
3. It starts `python -m cluster.ray_patches.ray_start start --head ...` (Ray's own command line if no patch needs ours)
   with what the decision puts into the environment: the variables of the patches, and their names in
   AIMA_APPLIED_PATCHES. All of Ray's processes on this node inherit both.
4. ray_start.py applies the patches of `ray start` (process_commands.py: the dashboard's modules, the way to the
   autoscaler), and becomes Ray's command line. That starts the GCS, the raylet, the dashboard, and
5. the autoscaler, through autoscaler_monitor.py, which applies the patches of its process and runs Ray's own script.
6. The raylet starts Python workers: Serve's controller, proxy and API, jobs, Ray Client. Each imports head_process.py
   first, which applies the clock. Serve's controller calls serve_controller.py.

A worker goes the same way from step 2 on: cluster/worker/ray_node.py decides with the settings in the grant that it
gets from the orchestrator, and its own Ray. Its Python workers import preloaded_worker.py. The driver of a batch job,
wherever it runs, runs its datasets inside data_actors.py (pipelines/batch/run.py).

A patch that does not fit is left out, alone, and named in `aima status` and `aima doctor`; one that fails while it is
applied is left out of that process, whose log says so. To add one: an entry in registry.py, and its code in a file
here. patch.py says what an entry consists of, checks.py which checks there are; they read Ray's files by ray_source.py.
"""
