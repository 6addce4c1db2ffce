"""From settings to what the autoscaler is given: node types and budgets."""

from autoscaler.budget import Budget, Budgets
from autoscaler.types import NodeType
from cluster.settings import LimitSettings, Settings


def node_types(settings: Settings) -> list[NodeType]:
    """The settings' node types as the autoscaler knows them."""
    return [
        NodeType(
            name=name,
            resources={"CPU": shape.cpus, "GPU": shape.gpus},
            max_count=shape.max_count,
            clouds=tuple(shape.clouds),
            max_price_usd_per_hour=shape.max_price_usd_per_hour,
            race=shape.race,
        )
        for name, shape in settings.node_types.items()
    ]


def budgets(settings: Settings) -> Budgets:
    """The settings' limits; warnings and draining are the same for every one of them."""
    own = settings.budgets

    def budget(limits: LimitSettings) -> Budget:
        return Budget(
            limits.per_hour_usd, limits.per_day_usd, limits.per_month_usd, warn_at=own.warn_at, drain=own.drain
        )

    return Budgets(budget(own), {cloud: budget(limits) for cloud, limits in own.clouds.items()})
