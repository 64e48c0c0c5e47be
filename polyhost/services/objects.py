"""Named objects of what is printed: which there are, and leaving some out."""

from collections.abc import Collection

from polyhost.core.errors import NotFound, NotNow
from polyhost.core.file import NamedObject
from polyhost.core.job import RunState
from polyhost.core.user import Caller, Permission
from polyhost.services.files import Files
from polyhost.services.printer import Printer


class Objects:
    def __init__(self, files: Files) -> None:
        self._files = files

    async def of(self, p: Printer) -> tuple[NamedObject, ...]:
        """Those of the file that is printed; none while nothing is, or while its file is not read yet."""
        run = p.run
        if run is None or p.run_state is None or run.on_card:
            return ()
        try:
            if self._files.get(run.path).sha256 != run.file_sha256:
                return ()
            analysis = await self._files.analysis(run.path)
        except NotFound:
            return ()
        return analysis.objects if analysis is not None else ()

    async def exclude(self, p: Printer, names: Collection[str], by: Caller) -> None:
        """Leave out what is still to come of these objects, by their names in the file.

        `NotNow` when nothing is printed, `NotFound` for an object that the file has not.
        """
        by.require(Permission.PRINT, p.slug)
        run = p.run
        if run is None or p.run_state in {None, RunState.CANCELLING}:
            raise NotNow(f"{p.slug} is not printing")
        there = {one.name: one for one in await self.of(p)}
        for name in names:
            if name not in there:
                raise NotFound(f"{run.path} has no object {name!r}; there are: {', '.join(there) or 'none'}")
        await p.driver.exclude(run.id, [there[name] for name in names])
