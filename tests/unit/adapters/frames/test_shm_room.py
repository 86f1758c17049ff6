"""Too little shared memory is said before anything is started in it."""

import pytest

from orchestrator.adapters.frames import shm
from orchestrator.errors import SetupError


def test_room_is_required():
    shm.require(1)
    with pytest.raises(SetupError, match="MiB are needed") as caught:
        shm.require(1 << 60)
    assert caught.value.detail["needed"] == str(1 << 60)
