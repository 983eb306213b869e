"""Deleting a folder that a job has filled: deep, wide, locked or full of links, without leaving it."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_ONLY = 0o700


def remove_tree(folder: Path) -> bool:
    """Delete a folder and all in it; False when something could not be deleted. Links are deleted, not followed.

    Folders in it are moved to its top one by one, so no depth exhausts descriptors or the stack.
    """
    with suppress(OSError):
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            folder.unlink()
            return True
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _permit(parent, folder.name)
            _remove(parent, folder.name)
        finally:
            os.close(parent)
    return not os.path.lexists(folder)


def _remove(parent: int, name: str) -> None:
    top = os.open(name, _FOLDER, dir_fd=parent)
    try:
        failed: set[str] = set()
        while folders := [one for one in _remove_files(top) if one not in failed]:
            failed.update(one for one in folders if not _remove_folder(top, one))
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _remove_folder(top: int, name: str) -> bool:
    """Delete a folder; those in it are moved to the top. False when that is not possible."""
    try:
        _permit(top, name)
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            for deeper in _remove_files(inner):
                _permit(inner, deeper)
                os.rename(deeper, secrets.token_hex(16), src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    except OSError:
        return False
    return True


def _remove_files(folder: int) -> list[str]:
    """Delete what is no folder in an open folder; the names of the folders in it."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _permit(parent: int, name: str) -> None:
    """Give back the rights to a folder that a job has taken from itself; a link in its place is not followed."""
    if not hasattr(os, "O_PATH"):
        with suppress(OSError, NotImplementedError):
            os.chmod(name, _OWNER_ONLY, dir_fd=parent, follow_symlinks=False)
        return
    with suppress(OSError):
        folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            # Linux changes no mode through such a descriptor, but through its name there.
            os.chmod(f"/proc/self/fd/{folder}", _OWNER_ONLY)
        finally:
            os.close(folder)
