"""What Ray may place on the nodes of each lane."""

import json

from cluster.settings import NodeTypeSettings

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
