"""What Ray asks of the fleet: launches that are wanted, and those that are not wanted any more."""

from collections.abc import Callable, Mapping, Sequence

from autoscaler.decisions import races
from autoscaler.errors import Draining, LedgerUnavailable, UnknownNodeType
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.spec import Spec
from autoscaler.types import Intent

# Ours, beside Ray's tags: one of Ray's launch requests covers several calls and node types.
_CALL_TAG = "aima-launch-call"


class Demand:
    """Ray's side of the fleet. `wake` makes the reconciler act at once; with a cloud's name, list that cloud first."""

    def __init__(self, spec: Spec, launches: Launches, wake: Callable[[str | None], None]) -> None:
        self._spec, self._launches, self.wake = spec, launches, wake
        self._node_types = {node_type.name: node_type for node_type in spec.node_types}
        self.stopped = False

    def launch(self, node_type: str, count: int, tags: Mapping[str, str], call_id: str) -> list[str]:
        """Add `count` launches and buy soon; returns their names, the same ones for a call repeated with its `call_id`.

        Raises UnknownNodeType, Draining once the cluster is stopping, and LedgerUnavailable before it has been read.
        """
        if node_type not in self._node_types:
            raise UnknownNodeType(node_type, self._node_types)
        if self.stopped:
            raise Draining("the cluster is stopping: no machine is bought any more")
        names = [i.name for i in self.nodes() if i.tags.get(_CALL_TAG) == call_id]
        tags, why = {**tags, _CALL_TAG: call_id}, f"Ray asks for a worker of type {node_type}"
        for _ in range(count - len(names)):
            names.append(self._launches.want(self._spec.cluster_id, node_type, tags, why))
            if self._node_types[node_type].race:
                second = f"a second candidate for {names[-1]}: the first to join stays"
                self._launches.want(self._spec.cluster_id, node_type, tags, second, rival_of=names[-1])
        self.wake(None)
        return names

    def terminate(self, names: Sequence[str], reason: str) -> None:
        """These are not wanted any more, nor their rivals; unknown and ended names are ignored."""
        for name in names:
            for intent in races.pair(self._launches.live(), name):
                self.give_up(intent.name, reason)

    def give_up(self, name: str, reason: str) -> None:
        """End this one soon: what ends a second earlier is billed a second less."""
        intent = self._launches.get(name)
        ends = intent is not None and self._launches.end(name, reason)
        self.wake(intent.cloud if ends and intent is not None else None)

    def stop(self, reason: str) -> None:
        """Want nothing more, and nothing of what there is."""
        self.stopped = True
        self.terminate([intent.name for intent in self._launches.live()], reason)

    def nodes(self) -> list[Intent]:
        """What Ray is to see: every launch that exists or may exist. An ending one stays until it is surely gone,
        so that Ray neither forgets a node that still runs nor buys another in its place too early.

        Raises LedgerUnavailable before the ledger has been read: Ray must not take that for no nodes.
        """
        if not self._launches.load():
            raise LedgerUnavailable(self._launches.trouble())
        return races.visible(self._launches.live())

    def find(self, name: str) -> Intent | None:
        """The launch, seen by Ray or not; None when it is over or unknown."""
        return self._launches.get(name)

    def live_names(self) -> set[str]:
        """Every launch that exists or may exist."""
        return {intent.name for intent in self._launches.live()}
