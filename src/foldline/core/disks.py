"""What kind of disk a folder lies on, as far as the system says it."""

import re
from pathlib import Path

# File systems that several machines share; `fuse.` ones are known by what stands behind them.
SHARED = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.juicefs", "fuse.gcsfuse", "fuse.s3fs", "fuse.ceph", "virtiofs"),
}  # fmt: skip
MOUNTS = Path("/proc/self/mounts")


def shared_kind(path: Path) -> str:
    """The kind of file system, where it is one that several machines share; empty: it is none, or nobody can tell.

    Args:
        path: a file or folder, which need not be there.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # macOS, Windows
        return ""
    place, kind, longest = path.resolve(), "", -1
    for line in lines:
        _, at, of_kind, *_ = line.split(" ")
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), at))
        if place.is_relative_to(mounted) and len(mounted.parts) >= longest:  # of two at one place the later one counts
            kind, longest = of_kind, len(mounted.parts)
    return kind if kind in SHARED else ""
