"""What a disk's refusals mean to whoever asked for something."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from polyhost.core.errors import Malformed, NoSpace, NotFound, NotNow

_REFUSED: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE}


@contextmanager
def disk(doing: str) -> Iterator[None]:
    """Raises what an `OSError` met while `doing` something means."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            raise NoSpace(f"the disk refused {doing}: {error.strerror}") from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise NotFound(f"{doing}: nothing is there") from error
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR}:
            raise NotNow(f"{doing}: something is there already") from error
        if error.errno == errno.ENAMETOOLONG:
            raise Malformed(f"{doing}: the path is too long for this disk") from error
        raise NoSpace(f"the disk refused {doing}: {error.strerror or error}") from error
