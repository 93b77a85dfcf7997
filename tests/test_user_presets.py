"""Presets that users save: always whole files, always in their folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fouriscale import Settings, SettingsError
from fouriscale.hosts.webui import options
from fouriscale.hosts.webui.log import get_logger
from fouriscale.hosts.webui.report import Report
from fouriscale.hosts.webui.user_presets import check_name, default_folder, delete, exists, load_all, place_of, save
from fouriscale.settings.presets import Preset, bundled_folder, find, load, read_file
from webui_standin import Host

SETTINGS = Settings(start=0.1, stop=0.9, base=(512, 768), dilation=2.5, layers="mid", guidance=False)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_save_and_load(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    saved = save(folder, "  My castle ", "sdxl", (2048, 1536), SETTINGS)
    assert saved == Preset("My castle", "sdxl", (2048, 1536), SETTINGS)
    assert files(folder) == ["My castle.yaml"]
    assert read_file(folder / "My castle.yaml") == [saved]
    presets, problems = load_all(folder)
    assert presets == [*load(), saved]
    assert problems == []
    assert find("my castle", presets) == saved


def test_no_folder_yet(tmp_path: Path) -> None:
    assert load_all(tmp_path / "missing") == (load(), [])
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert load_all(tmp_path / "file") == (load(), [])


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_any_settings_survive(tmp_path: Path, family: str) -> None:
    for chosen in (Settings(), SETTINGS, Settings(layers="mid_block.*, a: b", stopband_weak=1 / 3, filter=False)):
        assert (
            read_file(tmp_path / f"{save(tmp_path, 'x', family, (64, 4096), chosen).name}.yaml")[0].settings == chosen
        )


def test_family_is_the_files(tmp_path: Path) -> None:
    save(tmp_path, "x", "sd15", (512, 512), Settings(family="sd15", start=0.5))
    assert load_all(tmp_path)[0][-1].family == "sd15"


def test_saving_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)
    save(tmp_path, "Mine", "sdxl", (1024, 1024), Settings())
    assert files(tmp_path) == ["Mine.yaml"]
    save(tmp_path, "mi-ne", "sdxl", (1024, 1024), Settings(start=0.5))  # by such a name the other could not be found
    presets, problems = load_all(tmp_path)
    assert ([p.name for p in presets[15:]], problems) == (["mi-ne"], [])
    assert find("MINE", presets) == presets[15]


def test_delete(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(tmp_path, name, "sd15", (512, 512), SETTINGS)
    delete(tmp_path, " One ")
    assert files(tmp_path) == ["two.yaml"]
    for name in ("one", "SDXL 2048x2048", "Auto", "../two", ""):
        with pytest.raises(SettingsError) as caught:
            delete(tmp_path, name)
        assert caught.value.field == "preset name"
    with pytest.raises(SettingsError):
        delete(tmp_path / "missing", "one")
    assert files(tmp_path) == ["two.yaml"]


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["os.replace", "os.fdopen", "yaml.safe_dump"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
def test_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    old = save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)
    before = (tmp_path / "Mine.yaml").read_bytes()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(type(error)):
            save(tmp_path, "Mine", "sdxl", (1024, 1024), Settings())
    assert (tmp_path / "Mine.yaml").read_bytes() == before
    assert files(tmp_path) == ["Mine.yaml"]
    assert load_all(tmp_path)[0][-1] == old


def test_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)

    class Full:
        """A file on a disk that fills up after a few bytes."""

        def __init__(self, handle: int, *_: Any, **__: Any):
            self._handle = handle

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: Any) -> None:
            os.close(self._handle)

        def write(self, text: str) -> None:
            os.write(self._handle, text[:10].encode())
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdopen", Full)
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, "Mine", "sdxl", (1024, 1024), Settings())
    assert files(tmp_path) == ["Mine.yaml"]
    assert load_all(tmp_path)[0][-1] == old


def test_an_unfinished_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tmp123.partial").write_text("family: sd", encoding="utf-8")
    assert load_all(tmp_path) == (load(), [])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that cannot be written")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)


# --- names -----------------------------------------------------------------------------------------------------------

BAD = [
    "../x", "a/b", "..", "C:\\x", "con\0", "", " ", ".", ".hidden", "...", "a..b", "..\\x", "/etc/x", "~/x", "a\nb",
    "x.", "a:b", "a*b", "a?b", 'a"b', "a<b", "a|b", "%2e%2e/x", "-x", " .x", "x" * 61, "a\tb", "\u2024\u2024/x",
    "a\u202eb", "CON", "nul", "Com1", "lpt9", "COM²", "aux.txt", "prn .x", "NUL.", "com1  .2",
]  # fmt: skip
TAKEN = [
    "Auto",
    "auto",
    "AUTO ",
    "Custom",
    "custom",
    "SDXL 2048x2048",
    "sdxl 2048X2048",
    "SD 1.5 1024×1024",
    "sd15 1024x1024",
]
FINE = ["x", "My castle", "4x (best), v1.2", "Ärger", "城", "a_b-c+d", "2048×2048", "x" * 60, "1e3", "yes", "null", "_"]


@pytest.mark.parametrize("name", BAD + TAKEN)
def test_bad_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    for call in (lambda: check_name(name), lambda: save(folder, name, "sd15", (512, 512), SETTINGS)):
        with pytest.raises(SettingsError) as caught:
            call()
        assert caught.value.field == "preset name"
    assert files(tmp_path) == ["presets"]
    assert files(folder) == []


@pytest.mark.parametrize("name", FINE)
def test_good_names(tmp_path: Path, name: str) -> None:
    saved = save(tmp_path, name, "sd15", (512, 512), SETTINGS)
    presets, problems = load_all(tmp_path)
    assert (saved.name, problems) == (name, [])
    assert find(name, presets) == presets[-1] == saved
    assert (tmp_path / f"{name}.yaml").is_file()


def test_names_in_other_scripts_are_told_apart(tmp_path: Path) -> None:
    save(tmp_path, "城", "sd15", (512, 512), Settings(start=0.1))
    save(tmp_path, "海", "sd15", (512, 512), Settings(start=0.2))
    presets, problems = load_all(tmp_path)
    assert problems == []
    found = [find(name, presets) for name in ("城", "海")]
    assert [preset.settings.start for preset in found if preset is not None] == [0.1, 0.2]


def test_exists() -> None:
    presets = load()
    for name in TAKEN:
        assert exists(name, presets)
    assert not exists("Mine", presets)
    assert not exists("", presets)


# --- files with mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"family: [", "a readable YAML file"), (b"\xff\xfe\x00", "a readable YAML file"),
        (b"", "a mapping with the keys"),
        (b"family: sd3\npresets: []", "one of sd15, sd21, sdxl"), (b"- 1", "a mapping with the keys"),
        (b"family: sd15\npresets:\n- {name: x, size: [1, 2]}", "multiples of 8"),
        (b"family: sd15\npresets:\n- {name: x, size: [64, 64], start: 2}", "a number from 0 to 1"),
        (b"family: sd15\npresets:\n- {name: Auto, size: [64, 64]}", "a name that no other preset has"),
        (b"family: sd15\npresets:\n- {name: sdxl2048x2048, size: [64, 64]}", "a name that no other preset has"),
        (b"family: sd15\npresets: [!!python/object/apply:os.getcwd []]", "a readable YAML file"),
    ],
)  # fmt: skip
def test_broken_file_is_reported_and_the_rest_is_read(tmp_path: Path, content: bytes, said: str) -> None:
    good = save(tmp_path, "Good", "sd15", (512, 512), SETTINGS)
    (tmp_path / "broken.yaml").write_bytes(content)
    presets, problems = load_all(tmp_path)
    assert presets == [*load(), good]
    assert len(problems) == 1
    assert problems[0].startswith("broken.yaml")
    assert said in problems[0]


def test_a_folder_among_the_files(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    presets, problems = load_all(tmp_path)
    assert presets == load()
    assert len(problems) == 1


def test_problems_reach_the_log_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(monkeypatch)
    host.options["fouriscale_user_folder"] = str(tmp_path)
    (tmp_path / "broken.yaml").write_bytes(b"family: [")
    caplog.set_level("WARNING", "fouriscale.hosts.webui")
    monkeypatch.setattr(get_logger(), "propagate", True)
    environment = options.environment(host.modules["modules.shared"], Report())
    assert environment.presets == load()
    assert "preset file left out: broken.yaml" in caplog.text
    p, _ = host.request(True)
    assert (p.comments, p.extra_generation_params) == ({}, {"FouriScale": True})


# --- files written by hand -------------------------------------------------------------------------------------------

TEAM = """# ours
family: sdxl
run: {steps: 30}
presets:
- {name: Left, size: [1024, 2048], start: 0.1}   # the old one
- {name: Mine, size: [2048, 2048], start: 0.2, run: {cfg: 6.0}}
- {name: Right, size: [2048, 1024], start: 0.3}
"""


def own(folder: Path) -> dict[str, tuple[str, float | None]]:
    """The user's presets by name: family and start."""
    presets, problems = load_all(folder)
    assert problems == []
    return {p.name: (p.family, p.settings.start) for p in presets[len(load()) :]}


def test_saving_over_one_of_several_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TEAM, encoding="utf-8")
    kept = [p for p in read_file(tmp_path / "mine.yaml") if p.name != "Mine"]
    saved = save(tmp_path, "mine", "sdxl", (1536, 1536), Settings(start=0.5))
    assert files(tmp_path) == ["mine.yaml"]
    assert [p for p in read_file(tmp_path / "mine.yaml") if p != saved] == kept
    assert own(tmp_path) == {"Left": ("sdxl", 0.1), "mine": ("sdxl", 0.5), "Right": ("sdxl", 0.3)}
    assert (saved.size, saved.run) == ((1536, 1536), {"steps": 30, "cfg": 6.0})


def test_saving_for_another_family_moves_it_to_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TEAM, encoding="utf-8")
    save(tmp_path, "Mine", "sd15", (1024, 1024), Settings(start=0.5))
    assert files(tmp_path) == ["Mine (2).yaml", "mine.yaml"]
    assert own(tmp_path) == {"Mine": ("sd15", 0.5), "Left": ("sdxl", 0.1), "Right": ("sdxl", 0.3)}


def test_a_file_of_that_name_with_other_presets_stays(tmp_path: Path) -> None:
    (tmp_path / "Castle.yaml").write_text(TEAM, encoding="utf-8")
    save(tmp_path, "castle", "sd15", (1024, 1024), Settings(start=0.5))
    assert (tmp_path / "Castle.yaml").read_text(encoding="utf-8") == TEAM
    assert set(own(tmp_path)) == {"Left", "Mine", "Right", "castle"}


def test_a_file_of_that_name_that_cannot_be_read_stays(tmp_path: Path) -> None:
    (tmp_path / "Mine.yaml").write_text("family: [", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"Mine\.yaml"):
        save(tmp_path, "mine", "sd15", (1024, 1024), SETTINGS)
    (tmp_path / "Mine.yaml").write_text(TEAM.replace("start: 0.3", "start: 3"), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"Mine\.yaml: Right: start"):
        save(tmp_path, "Mine", "sdxl", (1024, 1024), SETTINGS)
    assert "start: 3}" in (tmp_path / "Mine.yaml").read_text(encoding="utf-8")


def test_deleting_one_of_several(tmp_path: Path) -> None:
    (tmp_path / "Left.yaml").write_text(TEAM, encoding="utf-8")
    assert delete(tmp_path, "Mine").loss() == ", and Left.yaml loses its comments"
    assert own(tmp_path) == {"Left": ("sdxl", 0.1), "Right": ("sdxl", 0.3)}
    assert delete(tmp_path, "left").loss() == ""
    assert own(tmp_path) == {"Right": ("sdxl", 0.3)}
    with pytest.raises(SettingsError):
        delete(tmp_path, "Left")
    delete(tmp_path, "Right")
    assert files(tmp_path) == []


def test_a_name_that_is_no_file_name_can_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("family: sd15\npresets: [{name: 'a/b: c', size: [512, 512]}]", encoding="utf-8")
    delete(tmp_path, "a/b: c")
    assert files(tmp_path) == []


def test_where_a_preset_is(tmp_path: Path) -> None:
    assert place_of(tmp_path / "missing", "Mine") is None
    save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)
    (tmp_path / "team.yaml").write_text(TEAM.replace("Mine", "Other"), encoding="utf-8")
    alone, among = place_of(tmp_path, "mi ne"), place_of(tmp_path, "OTHER")
    assert alone is not None
    assert among is not None
    assert (alone.path.name, alone.others, alone.comments) == ("Mine.yaml", 0, False)
    assert (among.path.name, among.others, among.comments) == ("team.yaml", 2, True)


def test_a_name_twice_leaves_out_the_second_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("family: sd15\npresets: [{name: Left, size: [512, 512]}]", encoding="utf-8")
    (tmp_path / "b.yaml").write_text(TEAM, encoding="utf-8")
    presets, problems = load_all(tmp_path)
    assert [(p.name, p.family) for p in presets[len(load()) :]] == [
        ("Left", "sd15"), ("Mine", "sdxl"), ("Right", "sdxl"),
    ]  # fmt: skip
    assert len(problems) == 1
    assert problems[0].startswith("b.yaml: name = 'Left'")


@pytest.mark.skipif(os.name == "nt", reason="modes and links as Unix has them")
def test_modes_and_links(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)
        assert (tmp_path / "Mine.yaml").stat().st_mode & 0o777 == 0o640
        (tmp_path / "Mine.yaml").chmod(0o604)
        save(tmp_path, "Mine", "sd15", (1024, 512), SETTINGS)
        assert (tmp_path / "Mine.yaml").stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "Mine.yaml").rename(kept / "real.yaml")
    (tmp_path / "Mine.yaml").symlink_to(kept / "real.yaml")
    saved = save(tmp_path, "Mine", "sdxl", (2048, 2048), SETTINGS)
    assert (tmp_path / "Mine.yaml").is_symlink()
    assert read_file(kept / "real.yaml") == [saved]


def test_the_folder_of_an_installed_package_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "fouriscale"
    (package / "_presets").mkdir(parents=True)
    (package.parent / "presets").mkdir()  # another package's
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    for name in ("XDG_DATA_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert tmp_path / "home" in default_folder(package).parents
    assert bundled_folder(package) == package / "_presets"
    checkout = tmp_path / "FouriScale" / "fouriscale"
    (checkout.parent / "presets").mkdir(parents=True)
    assert default_folder(checkout) == checkout.parent / "user_presets"
    assert bundled_folder(checkout) == checkout.parent / "presets"


def test_a_file_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    save(tmp_path, "Mine", "sd15", (512, 512), SETTINGS)
    with pytest.raises(SettingsError, match="at most 65536 bytes"):
        save(tmp_path, "Mine", "sd15", (512, 512), Settings(layers="mid," * 20_000))
    assert load_all(tmp_path)[0][-1].settings == SETTINGS


ENTRY = "family: sd15\npresets:\n- {name: x, size: [64, 64], start: %s}\n"
BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ENTRY % "2026-02-30", "day is out of range"), (ENTRY % ("9" * 5000), "a readable YAML file"),
        (ENTRY % ("0x" + "f" * 5000), "a number from 0 to 1"), (ENTRY % "!!int ''", "a readable YAML file"),
        (ENTRY % "!!bool maybe", "a readable YAML file"), ("[" * 30_000, "nested deeper than 20"),
        ("- " * 30_000, "nested deeper than 20"), (f"{BOMB}family: *a11\npresets: []", "more than 20000 values"),
        (f"{MERGES}family: *a8\npresets: []", "more than 20000 values"), ("family: &a [*a]\n", "an alias within"),
        (ENTRY % "0.5" + "#" * 100_000, "a file of at most 65536 bytes"),
        ("family: sd15\npresets: [{name: x, size: [64, 64], ? 0x" + "f" * 5000 + " : 1}]", "unknown field"),
        ("family: sd15\nrun: {1: 2}\npresets: [{name: x, size: [64, 64]}]", "unknown field"),
        ("family: sd15\nrun: {eta: .nan}\npresets: [{name: x, size: [64, 64]}]", "a finite number"),
        ("family: sd15\npresets: [{name: x, size: [64, 64], layers: \"mid\\nWARNING: forged\", stop: 9}]", "0 to 1"),
    ],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_no_file_harms_the_rest(tmp_path: Path, content: str, said: str) -> None:
    good = save(tmp_path, "Good", "sd15", (512, 512), SETTINGS)
    (tmp_path / "a\nbad one.yaml").write_text(content, encoding="utf-8")
    presets, problems = load_all(tmp_path)
    assert presets == [*load(), good]
    assert len(problems) == 1
    assert problems[0].startswith("a\\nbad one.yaml")
    assert said in problems[0]
    assert len(problems[0]) < 2000
    assert problems[0].isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    good = save(tmp_path, "Good", "sd15", (512, 512), SETTINGS)
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "zeros.yaml").symlink_to("/dev/zero")
    (tmp_path / "linked fifo.yaml").symlink_to(tmp_path / "fifo.yaml")
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "nothing")
    with (tmp_path / "huge.yaml").open("wb") as huge:
        huge.truncate(100 * 2**20)
    presets, problems = load_all(tmp_path)
    assert presets == [*load(), good]
    assert [line.partition(" = ")[0] for line in problems] == [
        "fifo.yaml", "huge.yaml", "linked fifo.yaml", "nowhere.yaml", "zeros.yaml",
    ]  # fmt: skip


def test_aliases_that_are_not_many_are_fine(tmp_path: Path) -> None:
    text = "family: sd15\npresets:\n- &a {name: x, size: &s [64, 64], start: 0.1}\n- {<<: *a, name: y, size: *s}\n"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert own(tmp_path) == {"x": ("sd15", 0.1), "y": ("sd15", 0.1)}
    delete(tmp_path, "x")
    assert own(tmp_path) == {"y": ("sd15", 0.1)}
