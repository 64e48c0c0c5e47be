"""The namespaces on a real database do what a dictionary of dictionaries does, whatever is asked in whatever order."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from polyhost.core.errors import Malformed, NotFound
from polyhost.storage.records import Records

NAMES = st.sampled_from(["fluidd", "mainsail"])
PATHS = st.lists(st.sampled_from(["a", "b", "a.b", "ü"]), min_size=1, max_size=3).map(tuple)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.sampled_from("ab"), v, max_size=2))
STEPS = st.lists(
    st.tuples(st.just("put"), NAMES, PATHS, VALUES) | st.tuples(st.just("drop"), NAMES, PATHS, st.none()), max_size=12
)


class Refused(Exception):
    pass


class Model:
    def __init__(self) -> None:
        self.all: dict[str, dict[str, Any]] = {}

    def put(self, name: str, path: tuple[str, ...], value: Any) -> None:
        changed = copy.deepcopy(self.all)
        item = changed.setdefault(name, {})
        if len(path) > 1 and not isinstance(item.get(path[0], {}), dict):
            item[path[0]] = {}
        for part in path[:-1]:
            item = item.setdefault(part, {})
            if not isinstance(item, dict):
                raise Refused
        item[path[-1]] = value
        self.all = changed

    def drop(self, name: str, path: tuple[str, ...]) -> Any:
        item: Any = self.all.get(name, {})
        for part in path[:-1]:
            if not isinstance(item, dict) or part not in item:
                raise Refused
            item = item[part]
        if not isinstance(item, dict) or path[-1] not in item:
            raise Refused
        gone = item.pop(path[-1])
        if len(path) > 1 and not self.all[name][path[0]]:
            del self.all[name][path[0]]
        if not self.all[name]:
            del self.all[name]
        return gone


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
async def test_it_is_a_dictionary_of_dictionaries(steps: list[tuple[str, str, tuple[str, ...], Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records, model = Records.open(Path(folder)), Model()
        try:
            for what, name, path, value in steps:
                try:
                    expected = model.put(name, path, value) if what == "put" else model.drop(name, path)
                except Refused:
                    expected = Refused
                try:
                    if what == "put":
                        got = await records.put_item("mk3", name, path, value)
                    else:
                        got = await records.drop_item("mk3", name, path)
                except (Malformed, NotFound):
                    got = Refused
                assert got == expected, (what, name, path)
                assert await records.namespaces("mk3") == sorted(model.all)
                for kept in model.all:
                    whole = await records.namespace("mk3", kept)
                    assert whole is not None
                    assert json.loads(whole) == model.all[kept]
        finally:
            records.close()
