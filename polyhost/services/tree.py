"""The library as it is shown: folders and files in memory, by name."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from polyhost.core.errors import NotFound
from polyhost.core.file import File
from polyhost.core.ports import Clock


@dataclass(slots=True)
class Folder:
    """What is in a folder, by name; `size_bytes` of everything below it."""

    path: str
    modified_at: float
    files: dict[str, File] = field(default_factory=dict)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    def all_files(self) -> Iterator[File]:
        """Of this folder and of all below it."""
        yield from self.files.values()
        for folder in self.folders.values():
            yield from folder.all_files()

    def all_folders(self) -> Iterator["Folder"]:
        """All below this one, parents first."""
        for folder in self.folders.values():
            yield folder
            yield from folder.all_folders()


class Tree:
    """Paths are judged already.  `revision` grows with each change."""

    def __init__(self, clock: Clock) -> None:
        self.revision = 0
        self._clock = clock
        self._root = Folder("", clock.now())

    def folder(self, path: str) -> Folder:
        """`NotFound` when there is none; the library itself for ""."""
        folder = self._root
        for name in path.split("/") if path else ():
            try:
                folder = folder.folders[name]
            except KeyError:
                raise NotFound(f"no folder {path!r}") from None
        return folder

    def file(self, path: str) -> File:
        try:
            return self.folder(posixpath.dirname(path)).files[posixpath.basename(path)]
        except (KeyError, NotFound):
            raise NotFound(f"no file {path!r}") from None

    def is_file(self, path: str) -> bool:
        try:
            self.file(path)
        except NotFound:
            return False
        return True

    def is_folder(self, path: str) -> bool:
        try:
            self.folder(path)
        except NotFound:
            return False
        return True

    def exists(self, path: str) -> bool:
        return self.is_file(path) or self.is_folder(path)

    def files_at(self, path: str) -> list[File]:
        """The file, or all files of the folder."""
        return list(self.folder(path).all_files()) if self.is_folder(path) else [self.file(path)]

    def make_folder(self, path: str, modified_at: float | None = None) -> Folder:
        """The folder, made with those it is in as far as they are missing; `modified_at` (Unix) is now if not given."""
        folder = self._root
        for name in path.split("/") if path else ():
            if name not in folder.folders:
                below = f"{folder.path}/{name}" if folder.path else name
                folder.folders[name] = Folder(below, self._clock.now() if modified_at is None else modified_at)
                self.revision += 1
            folder = folder.folders[name]
        return folder

    def put(self, file: File) -> None:
        """Show `file`, in place of another if need be."""
        folder = self.make_folder(file.folder)
        old = folder.files.get(file.name)
        folder.files[file.name] = file
        folder.modified_at = max(folder.modified_at, file.modified_at)
        self._weigh(file.folder, file.size_bytes - (old.size_bytes if old is not None else 0))

    def drop(self, file: File) -> None:
        folder = self.folder(file.folder)
        del folder.files[file.name]
        folder.modified_at = self._clock.now()
        self._weigh(file.folder, -file.size_bytes)

    def drop_folder(self, path: str) -> None:
        """A folder whose files are dropped already."""
        del self.folder(posixpath.dirname(path)).folders[posixpath.basename(path)]
        self.revision += 1

    def _weigh(self, path: str, more_bytes: int) -> None:
        for folder in [*above(path), path] if path else []:
            self.folder(folder).size_bytes += more_bytes
        self._root.size_bytes += more_bytes
        self.revision += 1


def above(path: str) -> list[str]:
    """The folders that `path` is in, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
