"""What the watches have told of runs and of what belongs to them, packed small.

kopf's own indexes are not used: at the start each object waits for all others, and each one that
has been indexed wakes all that wait, which takes minutes with ten thousand objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.trimming import pack, trim_child, trim_run, unpack

# Namespace and name of a run.
Key = tuple[str, str]


class Known:
    """Runs and their children by the run's key; what is told later replaces what was."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._runs: dict[Key, bytes] = {}
        self._children: dict[Key, dict[str, bytes]] = {}
        # Runs that are being deleted.
        self.departing: set[Key] = set()
        # UIDs that a listing has told of at the start, and no watch yet.
        self._unconfirmed: set[str] = set()

    def put_run(self, body: Manifest) -> None:
        """Keep a run as it is now."""
        key = find_key(body)
        self._unconfirmed.discard(body["metadata"]["uid"])
        self._runs[key] = pack(trim_run(body))
        going = bool(body["metadata"].get("deletionTimestamp"))
        (self.departing.add if going else self.departing.discard)(key)

    def drop_run(self, key: Key) -> None:
        """Forget a run that is gone; what belongs to it goes by itself."""
        self._runs.pop(key, None)
        self.departing.discard(key)

    def put_child(self, body: Manifest) -> None:
        """Keep what belongs to a run as it is now."""
        uid = body["metadata"]["uid"]
        self._unconfirmed.discard(uid)
        self._children.setdefault(find_owner(body), {})[uid] = pack(trim_child(body))

    def drop_child(self, body: Manifest) -> None:
        """Forget what belonged to a run and is gone."""
        key = find_owner(body)
        mine = self._children.get(key, {})
        mine.pop(body["metadata"]["uid"], None)
        if not mine:
            self._children.pop(key, None)

    def fill(self, runs: Iterable[Manifest], children: Iterable[Manifest]) -> None:
        """Add what was listed at the start; what a watch has told is as new, or newer."""
        for body in runs:
            if find_key(body) not in self._runs:
                self.put_run(body)
                self._unconfirmed.add(body["metadata"]["uid"])
        for child in children:
            uid = child["metadata"]["uid"]
            if uid not in self._children.get(find_owner(child), {}):
                self.put_child(child)
                self._unconfirmed.add(uid)

    def drop_unconfirmed(self, listed: Collection[str]) -> None:
        """Forget what went between that listing and the watches; `listed` are the UIDs now."""
        gone = self._unconfirmed.difference(listed)
        self._unconfirmed.clear()
        if not gone:
            return
        for key in list(self._runs):
            if any(each["metadata"]["uid"] in gone for each in self.find_runs(key)):
                self.drop_run(key)
        for key in list(self._children):
            for child in list(self.find_children(key)):
                if child["metadata"]["uid"] in gone:
                    self.drop_child(child)

    def list_keys(self) -> list[Key]:
        """Return the keys of all runs."""
        return list(self._runs)

    def find_runs(self, key: Key) -> Iterator[Manifest]:
        """Yield the run of a key, if there is one."""
        if key in self._runs:
            yield unpack(self._runs[key])

    def find_children(self, key: Key) -> Iterator[Manifest]:
        """Yield what belongs to a run."""
        yield from map(unpack, list(self._children.get(key, {}).values()))


def find_key(run: Mapping[str, object]) -> Key:
    """Return the key of a run."""
    metadata = run["metadata"]
    assert isinstance(metadata, Mapping)  # noqa: S101 - the API server's word
    return metadata["namespace"], metadata["name"]


def find_owner(child: Mapping[str, object]) -> Key:
    """Return the key of the run that an object belongs to."""
    metadata = child["metadata"]
    assert isinstance(metadata, Mapping)  # noqa: S101 - the API server's word
    return metadata["namespace"], metadata.get("labels", {}).get(names.RUN_LABEL, "")
