# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import rig as rigs  # noqa: E402


@pytest.fixture
def rig():
    """A directory below $IOMESH_E2E_DIR or /var/tmp (a real disk), and whatever the test starts."""
    base = os.environ.get("IOMESH_E2E_DIR", "/var/tmp")
    directory = tempfile.mkdtemp(prefix="iomesh-e2e-", dir=base)
    made = rigs.Rig(directory)
    try:
        yield made
    finally:
        made.close()
        rigs.remove(directory)
