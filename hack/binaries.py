# SPDX-License-Identifier: Apache-2.0
"""Where the binaries of the real control plane are, and what to do when they are not there.

`hack/build` alone knows the versions, the cache directory and what makes a binary complete; this module asks it and repeats
its words. Rejected: reading the stamps here as well, because then two files would have to agree.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).with_name("build")


def directory() -> Path:
    """The directory the binaries are in once they are built; it may not exist yet."""
    return Path(subprocess.run([BUILD, "--where"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def missing() -> str | None:
    """None when every binary is complete, else a sentence that names the missing ones and the remedy."""
    asked = subprocess.run([BUILD, "--check"], check=False, stderr=subprocess.PIPE, text=True)
    return None if asked.returncode == 0 else asked.stderr.strip()


def build() -> str | None:
    """Build what is missing, its progress on stderr. None when all is there, else why not. Seven minutes the first time."""
    ran = subprocess.run([BUILD], check=False, stdout=sys.stderr)
    return None if ran.returncode == 0 else f"hack/build ended with exit code {ran.returncode}; its reason is above"
