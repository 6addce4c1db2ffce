"""What Ray may place on the nodes of each lane, and how much at once."""

import json

from cluster.config.schema import RENTED, NodeTypeSettings, Settings
from pipelines.models.devices import AT_ONCE_ON_CPUS, segments_at_once

CPU_LANE_RESOURCE = "cpu_lane"
# Of a worker: frames never cross it, so it holds what small objects there are.
OBJECT_STORE_BYTES = 512 * 1024**2


def ray_resources(shape: NodeTypeSettings) -> dict[str, float]:
    """What Ray is told of a node. CPUs of one without a GPU are the CPU lane's alone.

    Were they plain CPUs, drivers and helpers of jobs would buy such a node beside the GPU node that has room for them.
    """
    if shape.gpus:
        return {"CPU": shape.cpus, "GPU": shape.gpus}
    return {"CPU": 0, "GPU": 0, CPU_LANE_RESOURCE: shape.cpus}


def resource_flags(shape: NodeTypeSettings) -> list[str]:
    """The same as flags of `ray start`."""
    resources = ray_resources(shape)
    cpus, gpus = resources.pop("CPU"), resources.pop("GPU")
    return [f"--num-cpus={cpus:g}", f"--num-gpus={gpus:g}", f"--resources={json.dumps(resources)}"]


def segments_per_worker(settings: Settings) -> dict[str, int]:
    """How many segments a replica of each lane runs side by side; of several kinds of worker the smallest decides."""
    cores = min((_cores_per_gpu(shape) for shape in settings.node_types.values() if shape.gpus), default=0.0)
    scaling = settings.scaling
    return {
        "gpu": segments_at_once(cores, scaling.media_s_per_worker, scaling.segment_s),
        "cpu": AT_ONCE_ON_CPUS,
    }


def _cores_per_gpu(shape: NodeTypeSettings) -> float:
    """Those that machines have at least. The GPU of one of this machine may be none but in name: two segments it is."""
    if set(shape.clouds) <= set(RENTED):
        return max(shape.cpus / shape.gpus, shape.min_vcpus_per_gpu)
    return AT_ONCE_ON_CPUS if "local" in shape.clouds else shape.cpus / shape.gpus
