"""What the connector keeps of what tasks import."""

from __future__ import annotations

from pool.connector.history import MOST_IMAGES, MOST_MODULES, NAMED, History


def test_the_most_common_modules_of_an_image_are_named_first() -> None:
    history = History()
    for names in (["pandas", "numpy"], ["torch", "numpy"], ["torch", "numpy"]):
        history.heard("image-a", names)
    history.heard("image-b", ["polars"])
    assert history.names("image-a") == ["numpy", "torch", "pandas"]
    assert history.names("image-b") == ["polars"]
    assert history.names("image-c") == []


def test_what_is_kept_is_bounded() -> None:
    history = History()
    history.heard("first", [f"m{number}" for number in range(2 * MOST_MODULES)])
    history.heard("first", [f"m{number}" for number in range(2 * MOST_MODULES)])
    assert history.names("first") == [f"m{number}" for number in range(NAMED)]
    for number in range(MOST_IMAGES):
        history.heard(f"image-{number}", ["pandas"])
    assert history.names("first") == []
    assert history.names("image-0") == ["pandas"]
