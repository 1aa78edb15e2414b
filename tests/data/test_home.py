"""The folder of downloads and caches."""

from pathlib import Path

import pytest

from learnkit.data.home import home


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LEARNKIT_HOME", raising=False)
    assert home() == tmp_path / ".cache" / "learnkit"
    for value in ("", str(tmp_path / "xdg")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert home() == (Path(value) if value else tmp_path / ".cache") / "learnkit"
    for value in ("", str(tmp_path / "mine")):
        monkeypatch.setenv("LEARNKIT_HOME", value)
        assert home() == (Path(value) if value else tmp_path / "xdg" / "learnkit")
    assert not any(tmp_path.iterdir())  # it is not created
