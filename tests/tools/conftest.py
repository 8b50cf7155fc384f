"""What all tests of the tools start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastgrad.tools import compare


@pytest.fixture(autouse=True, scope="module")
def there_is_time_for_whole_gradients() -> Iterator[None]:
    """The tests' budgets are small: on a busy machine a part of the coordinates would be measured, peers skipped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "LONGEST", 5.0)
        yield
