"""annoloop.yaml: written and read back as it was, every fault at once, and no secrets in it (law 9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annoloop.data.config import (
    FILE_NAME,
    ClassConfig,
    Config,
    CvatConfig,
    DataConfig,
    PushConfig,
    TrainConfig,
    find,
    load,
    render,
)
from annoloop.data.storage import RemotePath
from annoloop.errors import ConfigError

SMALLEST = "project: p\ndata: {root: d, splits: {train: train}}\nclasses: [{name: a}, {name: b}]\n"

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
colors = st.none() | st.integers(0, 0xFFFFFF).map(lambda n: f"#{n:06x}")
paths = st.from_regex(r"[a-zA-Z0-9 ,_#:\[\]{}'\"-]{1,8}", fullmatch=True).map(lambda s: Path("/data") / s.strip())

configs = st.builds(
    Config,
    project=words,
    data=st.builds(
        DataConfig,
        root=paths,
        image_dir=words,
        mask_dir=words,
        image_suffix=st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=6),
        mask_suffix=st.just("_labels.png"),
        splits=st.dictionaries(st.sampled_from(["train", "val", "test", "pool"]), words, min_size=1),
        reduce_zero_label=st.booleans(),
    ),
    classes=st.lists(
        st.builds(ClassConfig, name=words.filter(lambda name: name != "ignore"), color=colors),
        min_size=1,
        max_size=5,
        unique_by=lambda c: c.name,
    ).map(tuple),
    cvat=st.builds(
        CvatConfig,
        url=st.sampled_from(["http://localhost:8080", "https://cvat.example.org/x"]),
        organization=st.none() | words,
        project=st.none() | words,
        segment_size=st.integers(0, 1000),
        assignees=st.lists(words, max_size=3).map(tuple),
        ca_file=st.none() | paths,
    ),
    train=st.builds(
        TrainConfig,
        recipe=words,
        device=st.sampled_from(["auto", "cpu", "cuda"]),
        iterations=st.none() | st.integers(1, 10**6),
        batch_size=st.none() | st.integers(1, 64),
        seed=st.integers(0, 2**31),
    ),
    push=st.builds(
        PushConfig,
        source=st.sampled_from(["prediction", "label"]),
        min_region_px=st.integers(0, 100),
        random_share=st.floats(0, 1),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(configs)
def test_load_is_the_inverse_of_render(tmp_path: Path, config: Config) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(render(config), encoding="utf-8")
    assert load(path) == config


@pytest.mark.parametrize("odd", ["\x85", "a\u2028b", "\ufeff", "\n", "\t", "é\x85", "日本"])
def test_what_yaml_would_fold_is_kept_wherever_it_stands(tmp_path: Path, odd: str) -> None:
    config = _load(tmp_path, SMALLEST)
    data = config.data.model_copy(update={"image_dir": {"train": odd}, "splits": {"train": odd}})
    cvat = config.cvat.model_copy(update={"assignees": (odd, "b")})
    config = config.model_copy(update={"project": odd, "data": data, "cvat": cvat})
    assert _load(tmp_path, render(config)) == config


def _load(folder: Path, text: str) -> Config:
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_the_smallest_file_has_defaults(tmp_path: Path) -> None:
    config = _load(tmp_path, SMALLEST)
    assert config.data.root == tmp_path / "d"
    assert config.table().names == ("a", "b")
    assert config.ignore_index == 255
    assert config.push.source == "label"


@pytest.mark.parametrize(("root", "expected"), [("../x", "x"), ("$HERE/y", "here/y"), ("~/z", "home/z")])
def test_a_root_is_beside_the_file_or_may_use_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, expected: str
) -> None:
    monkeypatch.setenv("HERE", str(tmp_path / "here"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    assert _load(tmp_path / "project", SMALLEST.replace("root: d", f"root: {root}")).data.root == tmp_path / expected


FAULTS = [
    (SMALLEST + "colour: red\n", "colour: unknown key"),
    (SMALLEST + "train: {epochs: 3}\n", "train.epochs: unknown key"),
    (SMALLEST.replace("{name: b}", "{name: b, colr: red}"), "classes.1.colr: unknown key"),
    (SMALLEST.replace("project: p", "project: ''"), "project: String should have at least 1 character"),
    (SMALLEST.replace("train: train", "trian: train"), "data.splits.trian"),
    (SMALLEST.replace("splits: {train: train}", "splits: {}"), "data.splits: Dictionary should have at least 1 item"),
    (SMALLEST.replace("[{name: a}, {name: b}]", "[]"), "classes: Tuple should have at least 1 item"),
    (SMALLEST.replace("{name: b}", "{name: a}"), "class names must be unique; repeated: a"),
    (SMALLEST.replace("{name: b}", "{name: ignore}"), "'ignore' is the name of the ignore index"),
    (SMALLEST.replace("{name: b}", "{name: b, color: green}"), "classes.b.color: 'green' is not a colour"),
    (SMALLEST.replace("{name: b}", "{name: b, color: '#0f0'}"), "classes.b.color: '#0f0' is not a colour"),
    (SMALLEST + "background: sky\n", "background: no class is named 'sky'"),
    (SMALLEST + "ignore_index: 1\n", "ignore_index 1 must lie in 2 ... 65535"),
    (SMALLEST + "ignore_index: 70000\n", "ignore_index: Input should be less than or equal to 65535"),
    (SMALLEST + "push: {random_share: 2}\n", "push.random_share: Input should be less than or equal to 1"),
    (SMALLEST + "train: {device: tpu}\n", "train.device: Input should be 'auto', 'cpu' or 'cuda'"),
    (SMALLEST + "cvat: {url: localhost}\n", "cvat.url: must start with http:// or https://"),
    (SMALLEST.replace("d, s", "d, reduce_zero_label: true, s") + "ignore_index: 9\n", "needs ignore_index 255"),
    ("- a\n", "must be a mapping with the keys project, data, classes"),
    ("", "must be a mapping"),
    ("a: [1\n", "not valid YAML"),
    ("a: \x07\n", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_is_named_with_its_key_and_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert caught.value.where == str(tmp_path / FILE_NAME)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = SMALLEST.replace("project: p", "project: 7") + "train: {seed: x}\npush: {min_region_px: -1}\nmore: 1\n"
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    said = caught.value.message
    assert said.startswith("4 faults")
    for key in ("project:", "train.seed:", "push.min_region_px:", "more:"):
        assert f"\n  {key}" in said


def test_255_classes_do_not_fit_beside_a_reduced_zero_label(tmp_path: Path) -> None:
    def text(count: int) -> str:
        names = ", ".join(f"{{name: c{i}}}" for i in range(count))
        return f"project: p\ndata: {{root: d, splits: {{train: t}}, reduce_zero_label: true}}\nclasses: [{names}]\n"

    assert len(_load(tmp_path, text(254)).classes) == 254
    with pytest.raises(ConfigError, match="reduce_zero_label leaves room for 254 classes"):
        _load(tmp_path, text(255))


@pytest.mark.parametrize("key", ["token", "password", "access_token", "username", "secret"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"cvat.{key} must not stand in the project file") as caught:
        _load(tmp_path, SMALLEST + f"cvat: {{{key}: hunter2}}\n")
    assert "CVAT_ACCESS_TOKEN" in (caught.value.hint or "")
    assert "hunter2" not in str(caught.value)


def test_credentials_in_the_url_are_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hold no credentials") as caught:
        _load(tmp_path, SMALLEST + "cvat: {url: 'https://me:hunter2@cvat.example.org'}\n")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(path)
    assert caught.value.where == str(path)


def test_the_file_is_found_upwards(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / FILE_NAME).write_text(SMALLEST)
    assert find(tmp_path / "a" / "b") == tmp_path / FILE_NAME


def test_no_file_above_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no annoloop\.yaml here or above") as caught:
        find(tmp_path)
    assert "annoloop init" in (caught.value.hint or "")


def test_a_configuration_cannot_be_changed_in_passing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        _load(tmp_path, SMALLEST).project = "other"


def test_a_data_root_may_be_a_url_but_holds_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "steel-data")
    file = tmp_path / FILE_NAME
    for written, read in (
        ("s3://$BUCKET/steel/", RemotePath("s3://steel-data/steel")),
        ("file:///data/steel", Path("/data/steel")),
    ):
        file.write_text(SMALLEST.replace("root: d", f"root: '{written}'"))
        config = load(file)
        assert config.data.root == read
        file.write_text(render(config))
        assert load(file) == config
    file.write_text(SMALLEST.replace("root: d", "root: 's3://me:hidden@bucket/steel'"))
    with pytest.raises(ConfigError, match=r"data\.root: a URL of s3:// with credentials") as caught:
        load(file)
    assert "hidden" not in str(caught.value)
