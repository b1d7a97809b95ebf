"""Unpacks one folder of an archive whose hash is known: `unpack.py ARCHIVE SHA256 FOLDER_INSIDE TARGET`.

The target appears complete or not at all.
"""

import hashlib
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path


def check_hash(archive: Path, sha256: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        sys.exit(f"{archive.name} has sha256 {found}, expected {sha256}: delete {archive} and run again")


def extract(archive: Path, folder: str, target: Path) -> None:
    """Extracts everything below `folder`; the archive's hash was checked, so its paths are trusted."""
    prefix = folder.rstrip("/") + "/"
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(target, [name for name in opened.namelist() if name.startswith(prefix)])
    else:
        with tarfile.open(archive) as opened:
            members = [member for member in opened.getmembers() if member.name.startswith(prefix)]
            opened.extractall(target, members)


def main(archive: Path, sha256: str, folder: str, target: Path) -> None:
    check_hash(archive, sha256)
    whole = target.with_name(target.name + ".new")
    shutil.rmtree(whole, ignore_errors=True)
    extract(archive, folder, whole)
    shutil.rmtree(target, ignore_errors=True)
    (whole / folder).rename(target)
    shutil.rmtree(whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
