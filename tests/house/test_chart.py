"""The Helm chart agrees with the server and the image; rendered whole where `helm` is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from server.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "roost"
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed")


def template(name: str) -> str:
    return (CHART / "templates" / name).read_text()


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, "template", "r", CHART, *arguments], capture_output=True, text=True, check=False)


def test_every_key_that_the_chart_writes_is_a_setting() -> None:
    sections = {name: getattr(field.annotation, "model_fields", None) for name, field in Settings.model_fields.items()}
    known = {name: fields for name, fields in sections.items() if fields}
    section, written = "", []
    for line in template("configmap.yaml").splitlines():
        if header := re.fullmatch(r"\s*\[(\w+)\]", line):
            section = header[1]
        elif (pair := re.fullmatch(r"\s*(\w+) = .*", line)) and section in known:
            written.append((section, pair[1]))
        elif "[[models]]" in line:
            section = ""
    assert len(written) == 8
    for section, key in written:
        assert key in known[section], f"{section}.{key}"


def test_the_image_and_the_chart_run_as_the_same_user() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    for key, number in (("runAsUser", user[1]), ("runAsGroup", user[2])):
        assert f"{key}: {number}" in template("deployment.yaml")


def test_what_the_image_writes_is_mounted_and_the_root_is_not_writable() -> None:
    deployment = template("deployment.yaml")
    assert "readOnlyRootFilesystem: true" in deployment
    (volume,) = re.findall(r"^VOLUME (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert volume in re.findall(r"mountPath: (\S+)", deployment)


def test_the_grace_period_outlasts_the_wait_before_the_drain_and_the_drain() -> None:
    deployment = template("deployment.yaml")
    grace = re.search(r"terminationGracePeriodSeconds: \{\{ add \.Values\.drainTimeoutSeconds (\d+) }}", deployment)
    wait = re.search(r'preStop:\n\s+exec: \{command: \[sleep, "(\d+)"]}', deployment)
    assert grace is not None
    assert wait is not None
    assert 0 < int(wait[1]) < int(grace[1])


def test_a_pod_whose_http_port_fails_is_not_restarted() -> None:
    liveness = re.search(r"livenessProbe:\n\s+(\w+):", template("deployment.yaml"))
    assert liveness is not None
    assert liveness[1] in {"grpc", "exec"}


@needs_helm
def test_the_rendered_settings_are_ones_that_the_server_takes() -> None:
    done = render(
        "--set", "registry.volume.emptyDir.medium=Memory", "--set", "settings.limits.message_bytes_max=8388608",
        "--set", "settings.limits.settings_ack_timeout_s=2.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = re.search(r"roost\.toml: \|\n((?:    .*\n|\n)+)", done.stdout)
    assert text is not None
    settings = Settings.model_validate(tomllib.loads(re.sub(r"^    ", "", text[1], flags=re.MULTILINE)))
    assert settings.limits.message_bytes_max == 8_388_608
    assert settings.limits.settings_ack_timeout_s == 2.5
    assert settings.models[0].reference == "@stable"


@needs_helm
def test_a_setting_that_the_chart_owns_is_refused_by_name() -> None:
    done = render("--set", "settings.server.workers=2")
    assert done.returncode != 0
    assert "settings.server: expected batching or limits" in done.stderr


@needs_helm
def test_no_models_are_refused() -> None:
    assert "models: expected at least one" in render("--set-json", "models=[]").stderr
